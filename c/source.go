// Package c has the text of shm.h, for the command shm, which compares what Go and C say
// of a segment. The Go compiler would refuse the C files in this directory, so each of
// them says that it ignores it.
package c

import _ "embed" // for the text

// Header is the text of shm.h.
//
//go:embed shm.h
var Header string
