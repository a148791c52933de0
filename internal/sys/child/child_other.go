//go:build !linux

package child

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

var errSystem = fmt.Errorf("%w on %s", errors.ErrUnsupported, runtime.GOOS)

// DieWithParent does nothing on this system.
func DieWithParent(*exec.Cmd) {}

// Killed returns false on this system.
func Killed(*os.ProcessState) bool { return false }

// Stop fails on this system.
func Stop(*os.Process) error { return errSystem }

// Resume fails on this system.
func Resume(*os.Process) error { return errSystem }

// InExecutable fails on this system.
func InExecutable(uintptr) (bool, error) { return false, errSystem }
