//go:build !windows

package sys

import (
	"fmt"
	"io/fs"
	"strings"
)

func isPath(name string) bool { return strings.Contains(name, "/") }

func checkName(name string) error {
	last := name[strings.LastIndexByte(name, '/')+1:]
	switch {
	case strings.ContainsRune(name, 0):
		return fmt.Errorf("%w: the name contains a NUL", fs.ErrInvalid)
	case strings.Contains(name, "/../"):
		return fmt.Errorf("%w: the name contains /../", fs.ErrInvalid)
	case last == "" || last == "." || last == "..":
		return fmt.Errorf("%w: the name is that of a directory", fs.ErrInvalid)
	case len(last) > 255 || len(name) > 4095:
		return tooLong(name)
	}
	return nil
}
