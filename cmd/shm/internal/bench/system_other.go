//go:build !linux

package bench

import (
	"errors"
	"syscall"
	"time"
)

// This file has what other systems lack, or what this package does not implement for
// them yet.

func attributes() *syscall.SysProcAttr { return nil }

func terminateGroup(int) error { return errors.ErrUnsupported }

// monotonic returns the time of the wall clock, which processes share.
func monotonic() int64 { return time.Now().UnixNano() }

func kernel() string { return "" }

func seatsFor(int) []int { return nil }

func onCPUs(_ []int, f func() error) error { return f() }

func openFlock(place) (counter, error) { return nil, errors.ErrUnsupported }
