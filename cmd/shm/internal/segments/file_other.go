//go:build !linux

package segments

import (
	"errors"
	"io/fs"
	"os"
)

func openRead(path string) (*os.File, error) {
	return nil, &fs.PathError{Op: "open", Path: path, Err: errors.ErrUnsupported}
}

// Stat returns an error on systems without segments.
func Stat(name string) (File, error) {
	return File{}, &fs.PathError{Op: "stat", Path: name, Err: errors.ErrUnsupported}
}
