//go:build !(linux && amd64)

package trace

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

// Begin does nothing on this system.
func Begin() {}

// End does nothing on this system.
func End() {}

// Section returns an error that wraps errors.ErrUnsupported.
func Section(*exec.Cmd, *os.File, func(Store) bool) error {
	return fmt.Errorf("%w: processes can be traced on linux/amd64 only, this is %s/%s", errors.ErrUnsupported, runtime.GOOS, runtime.GOARCH)
}
