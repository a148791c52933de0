//go:build !linux

package bench

import (
	"errors"
	"syscall"
	"time"
)

// What other systems lack, or this package has not been taught yet.

func attributes() *syscall.SysProcAttr { return nil }

func terminateGroup(int) error { return errors.ErrUnsupported }

// monotonic falls back on the wall clock, which processes share.
func monotonic() int64 { return time.Now().UnixNano() }

func kernel() string { return "" }

func seatsFor(int) []int { return nil }

func onCPUs(_ []int, f func() error) error { return f() }

func openFlock(place) (counter, error) { return nil, errors.ErrUnsupported }
