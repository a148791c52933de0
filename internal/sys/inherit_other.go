//go:build !windows

package sys

import (
	"io/fs"
	"os"
	"os/exec"

	"example.org/shm/internal/errs"
)

// Inherit makes the process that cmd will start inherit a descriptor of f, and returns
// the number that it has there.
func Inherit(cmd *exec.Cmd, f *os.File) (number int, err error) {
	if f == nil {
		return 0, errs.Path("inherit", AnonymousPath, fs.ErrInvalid)
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	return 2 + len(cmd.ExtraFiles), nil
}

// Inherits returns which file has a number in the process that cmd will start. It returns
// false if that inherits none of the number.
func Inherits(cmd *exec.Cmd, number int) (Key, bool) {
	f := inherits(cmd, number)
	if f == nil {
		return Key{}, false
	}
	key, _, err := Identify(f, f.Name())
	return key, err == nil
}

// InheritsSocket reports whether a number is that of a socket in the process that cmd
// will start.
func InheritsSocket(cmd *exec.Cmd, number int) bool {
	f := inherits(cmd, number)
	if f == nil {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&fs.ModeSocket != 0
}

func inherits(cmd *exec.Cmd, number int) *os.File {
	if n := number - 3; 0 <= n && n < len(cmd.ExtraFiles) {
		return cmd.ExtraFiles[n]
	}
	return nil
}
