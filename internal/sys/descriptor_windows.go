package sys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/windows"
)

// Reopen opens the file of f anew for reading and writing: a file object of this
// process's own, which no child shares. If the system cannot do that by the
// handle, Reopen opens path, provided that it still leads to the same file.
// The error wraps an *fs.PathError.
func Reopen(f *os.File, path string) (*os.File, error) { return reopen(f, path, false) }

// ReopenToRead is Reopen for reading only.
func ReopenToRead(f *os.File, path string) (*os.File, error) { return reopen(f, path, true) }

func reopen(f *os.File, path string, readOnly bool) (*os.File, error) {
	access := uint32(windows.GENERIC_READ | windows.GENERIC_WRITE)
	if readOnly {
		access = windows.GENERIC_READ
	}
	var h windows.Handle
	err := withHandle(f, func(old windows.Handle) error {
		r, _, err := procReOpen.Call(uintptr(old), uintptr(access), shareAll, 0)
		if h = windows.Handle(r); h == windows.InvalidHandle {
			return err
		}
		return nil
	})
	if err == nil {
		return os.NewFile(uintptr(h), path), nil
	}
	first := errs.Path("reopen", path, explained(err))
	if errors.Is(err, fs.ErrClosed) || !strings.ContainsAny(path, `/\`) || path == AnonymousPath {
		return nil, first
	}
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

// Duplicate returns a handle of the same open file that no child inherits.
// The error is an *fs.PathError; it wraps fs.ErrPermission if f permits only
// reading and readOnly is false. It never blocks.
func Duplicate(f *os.File, readOnly bool) (*os.File, error) {
	var h windows.Handle
	err := withHandle(f, func(old windows.Handle) (err error) {
		h, err = duplicate(old, readOnly)
		return err
	})
	if err != nil {
		return nil, errs.Path("dup", f.Name(), err)
	}
	return os.NewFile(uintptr(h), f.Name()), nil
}

// Adopt returns a duplicate of a handle that a parent passed, under the name
// path. It keeps the original, which from now on no child inherits. The error
// wraps fs.ErrNotExist if the handle is not open or is not that of the
// regular file of the key, and fs.ErrPermission as in Duplicate. It is not an
// *fs.PathError. It never blocks.
func Adopt(fd int, key Key, path string, readOnly bool) (*os.File, error) {
	old := windows.Handle(fd)
	var info windows.ByHandleFileInformation
	err := windows.GetFileInformationByHandle(old, &info)
	if err != nil || keyOf(&info) != key || info.FileAttributes&windows.FILE_ATTRIBUTE_DIRECTORY != 0 {
		return nil, fmt.Errorf("%w: handle %d is not the segment that was passed", fs.ErrNotExist, fd)
	}
	if err := windows.SetHandleInformation(old, windows.HANDLE_FLAG_INHERIT, 0); err != nil {
		return nil, err
	}
	own, err := duplicate(old, readOnly)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(own), path), nil
}

// duplicate duplicates a handle if it permits what is asked for.
func duplicate(old windows.Handle, readOnly bool) (h windows.Handle, err error) {
	me := windows.CurrentProcess()
	if err := windows.DuplicateHandle(me, old, me, &h, 0, false, windows.DUPLICATE_SAME_ACCESS); err != nil {
		return 0, err
	}
	if readOnly {
		return h, nil
	}
	// A write of no bytes changes nothing, and is refused without the permission.
	var n uint32
	if err := windows.WriteFile(h, nil, &n, &windows.Overlapped{}); err != nil {
		_ = windows.CloseHandle(h)
		return 0, err
	}
	return h, nil
}

// Send returns an error: a child opens the file anew by the handle that it has got.
func Send(f *os.File) (*os.File, error) {
	return nil, errs.Path("send", f.Name(), errors.ErrUnsupported)
}

// Receive returns an error, since Send does.
func Receive(fd int, _ Key, _ string) (*os.File, error) {
	return nil, fmt.Errorf("%w: in handle %d waits no handle of the segment", fs.ErrNotExist, fd)
}
