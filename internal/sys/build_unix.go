//go:build linux || darwin || freebsd

package sys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/unix"
)

// build gives an empty file its attributes, its group, its mode, its space and its header,
// and has them written to disk.
func build(f *os.File, path string, mode fs.FileMode, header []byte, size int64) error {
	if err := suits(f, path); err != nil {
		return err
	}
	keepInPlace(f)
	if err := setGroup(f, path, mode); err != nil {
		return err
	}
	if err := setMode(f, path, mode); err != nil {
		return err
	}
	if err := layDown(f, path, header, size); err != nil {
		return err
	}
	return persist(f, path)
}

// setMode gives a file exactly these permission bits: the process's umask does not
// apply, since Options.Mode says who may attach.
func setMode(f *os.File, path string, mode fs.FileMode) error {
	err := withDescriptor(f, func(fd int) error {
		return attempt(callFchmod, func() error { return unix.Fchmod(fd, uint32(mode)) })
	})
	st, failed := stat(f, path)
	if failed != nil {
		return failed
	}
	have := fs.FileMode(st.Mode) & fs.ModePerm
	if have == mode {
		return nil // whatever fchmod says
	}
	if err == nil {
		err = errors.ErrUnsupported // as some filesystems do that keep no modes
	}
	return errs.Path("chmod", path, fmt.Errorf("a new file here has mode %#o, and it cannot be given Options.Mode %#o: ask for %#o if that suits you, or use a path on another filesystem: %w", have, mode, have, err))
}

// layDown gives an empty file its space and its header.
func layDown(f *os.File, path string, header []byte, size int64) error {
	if err := Reserve(f, path, 0, size); err != nil {
		return err
	}
	if _, err := f.WriteAt(header, 0); err != nil {
		return errs.Path("write", path, errors.Unwrap(err))
	}
	return nil
}
