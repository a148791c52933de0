//go:build !linux && !windows

package bench

import "time"

// monotonic returns the time of the wall clock, which processes share.
func monotonic() int64 { return time.Now().UnixNano() }

func kernel() string { return "" }
