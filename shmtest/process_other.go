//go:build !linux

package shmtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

// Segment skips the test on these systems, so nothing below is called by a test that
// has a segment.
var errSystem = fmt.Errorf("%w on %s", errors.ErrUnsupported, runtime.GOOS)

func dieWithParent(*exec.Cmd) {}

func killedBySignal(*os.ProcessState) bool { return false }

func (p *Proc) stop() error { return errSystem }

func (p *Proc) resume() error { return errSystem }

func inExecutable(uintptr) (bool, error) { return false, errSystem }
