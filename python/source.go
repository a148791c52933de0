// Package python has the text of the Python package shm, for the command shm, which
// compares what Go and Python say of a segment.
package python

import "embed"

// Files has the files of the package, in the directory shm.
//
//go:embed shm/*.py
var Files embed.FS
