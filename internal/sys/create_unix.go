//go:build linux || darwin || freebsd

package sys

import (
	"errors"
	"io/fs"
	"os"
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
