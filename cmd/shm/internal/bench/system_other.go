//go:build !linux

package bench

import (
	"errors"
	"io"
	"os"
	"os/exec"
)

// This file has what other systems lack, or what this package does not implement for
// them yet.

// tie makes a worker end when this process ends, however that happens: see endWithParent.
// A script has its standard input already, and looks for its parent itself.
func tie(cmd *exec.Cmd) error {
	if cmd.Stdin != nil {
		ownGroup(cmd)
		return nil
	}
	_, err := cmd.StdinPipe() // it is closed when the worker has ended, or with this process
	return err
}

// endWithParent ends this worker when the parent has ended.
func endWithParent() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // whatever the reason is, the parent cannot be seen any more
		os.Exit(1)
	}()
}

func seatsFor(int) []int { return nil }

func onCPUs(_ []int, f func() error) error { return f() }

func openFlock(place) (counter, error) { return nil, errors.ErrUnsupported }
