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

// CreateNamed creates a file at path with size reserved bytes, of which the first
// are header and the others zeros. It builds the file under no name, or a
// temporary one, and gives it its name in one step, so nobody ever sees a part of
// one. Unless the filesystem is memory, the file is on disk before the name is, so
// a power failure leaves all of it or no name. The permission bits are mode,
// whatever the umask. It may block as Reserve may, and until the disk has written.
//
// The error is an *fs.PathError, and then nothing is changed. It wraps fs.ErrExist
// if the path exists, and errors.ErrUnsupported if the filesystem can hold no
// segment.
func CreateNamed(path string, mode fs.FileMode, header []byte, size int64) (*os.File, error) {
	f, err := createUnnamed(path, mode, header, size)
	if refused(err) {
		f, err = createBeside(path, mode, header, size)
	}
	if err != nil {
		return nil, err
	}
	persistName(f, path)
	return f, nil
}

// createBeside is CreateNamed by a temporary name.
func createBeside(path string, mode fs.FileMode, header []byte, size int64) (*os.File, error) {
	removeAbandoned(path)
	f, temp, err := openBeside(path, path)
	if err != nil {
		return nil, err
	}
	linked := false
	if err = build(f, path, mode, header, size); err == nil {
		linked, err = rename(temp, path)
	}
	if err != nil {
		if failed := Remove(temp); failed != nil && !errors.Is(failed, fs.ErrNotExist) {
			err = errors.Join(err, failed)
		}
		return nil, CloseAfter(f, err)
	}
	if linked {
		// Some filesystems that are programs (FUSE) take two names for two files, which
		// share no memory. All others open the real name.
		if again, err := OpenExisting(path, false); err == nil {
			return again, f.Close()
		}
	}
	unlockCreation(f)
	return f, nil
}

// build gives an empty file its attributes, its mode, its space and its header, and
// has them written to disk.
func build(f *os.File, path string, mode fs.FileMode, header []byte, size int64) error {
	if err := suits(f, path); err != nil {
		return err
	}
	keepInPlace(f)
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
