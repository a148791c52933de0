//go:build linux && !shmportable

package sys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/unix"
)

// Reopen opens the file of f anew for reading and writing: a description of this
// process's own, which no child shares. If the system cannot do that by the
// descriptor, Reopen opens path, provided that it still leads to the same file.
// The error wraps an *fs.PathError.
func Reopen(f *os.File, path string) (*os.File, error) { return reopen(f, path, false) }

// ReopenToRead is Reopen for reading only.
func ReopenToRead(f *os.File, path string) (*os.File, error) { return reopen(f, path, true) }

func reopen(f *os.File, path string, readOnly bool) (*os.File, error) {
	flags := unix.O_RDWR
	if readOnly {
		flags = unix.O_RDONLY
	}
	var fd int
	err := withDescriptor(f, func(old int) (err error) {
		fd, err = beyondStandard(unix.Open(fmt.Sprintf("/proc/self/fd/%d", old), flags|unix.O_CLOEXEC, 0))
		return err
	})
	if err == nil {
		return os.NewFile(uintptr(fd), path), nil
	}
	first := errs.Path("reopen", path, err)
	if errors.Is(err, fs.ErrClosed) || !strings.Contains(path, "/") || path == AnonymousPath {
		return nil, first
	}
	// There is no /proc, or it refuses.
	again, err := OpenExisting(path, readOnly)
	if err != nil {
		return nil, fmt.Errorf("%w; %w", first, err)
	}
	have, err1 := stat(again, path)
	want, err2 := stat(f, path)
	if err1 != nil || err2 != nil || keyOf(&have) != keyOf(&want) {
		return nil, CloseAfter(again, fmt.Errorf("%w; the path leads to another file now", first))
	}
	return again, nil
}
