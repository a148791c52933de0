package bench

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// flockCounter is a number in the segment. A lock on the segment's file guards it.
type flockCounter struct {
	rawCounter
	file *os.File
}

// openFlock opens the file again. A lock belongs to an open file description, and all
// workers share the inherited one.
func openFlock(at place) (counter, error) {
	number, err := newRaw(at.segment)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", at.segment.File().Fd()), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return flockCounter{number, f}, nil
}

func (c flockCounter) add(n int) error {
	for range n {
		if err := c.lock(); err != nil {
			return err
		}
		if err := c.rawCounter.add(1); err != nil {
			return err
		}
		if err := c.flock(unix.LOCK_UN); err != nil {
			return err
		}
	}
	return nil
}

func (c flockCounter) lock() error { return c.flock(unix.LOCK_EX) }

func (c flockCounter) flock(how int) error {
	for {
		// A signal ends the wait, and Go's scheduler sends signals.
		if err := unix.Flock(int(c.file.Fd()), how); err != unix.EINTR {
			return err
		}
	}
}
