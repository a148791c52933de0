package sys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/windows"
)

// sharedDir is where segments are whose names are no paths. Each user has a directory for
// temporary files of its own, so programs of two users do not meet there.
var sharedDir = filepath.Join(os.TempDir(), "shm") + `\`

// shareAll lets every other program open the file as well, and remove or rename it.
const shareAll = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE

// withHandle calls do with f's handle, which stays open until then even if f is closed
// meanwhile: otherwise its number might already be another file's.
func withHandle(f *os.File, do func(h windows.Handle) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if conn.Control(func(fd uintptr) { err = retry(func() error { return do(windows.Handle(fd)) }) }) != nil {
		return fs.ErrClosed // the only reason for which Control does not call its function
	}
	return err
}

// patience is for how long a file that another program keeps for itself is tried again:
// virus scanners and indexers do that for a moment with each new file.
const patience = 500 * time.Millisecond

// patiently calls f until no other program keeps the file for itself.
func patiently(f func() error) error {
	for began := Monotonic(); ; Pause(5 * time.Millisecond) {
		err := retry(f)
		if err != windows.ERROR_SHARING_VIOLATION && err != windows.ERROR_LOCK_VIOLATION || Monotonic()-began > int64(patience) {
			return explained(err)
		}
	}
}

// explained says what an error of Windows means where its text does not, and what to do.
func explained(err error) error {
	switch err {
	case windows.ERROR_SHARING_VIOLATION, windows.ERROR_LOCK_VIOLATION:
		return fmt.Errorf("another program has the file open and shares it with nobody: end it, or, if it is a virus scanner or a backup program, exclude the directory (%w)", err)
	case windows.ERROR_DISK_FULL, windows.ERROR_HANDLE_DISK_FULL:
		return fmt.Errorf("%w: make room on the drive, or use a path on another one (%w)", syscall.ENOSPC, err)
	case windows.ERROR_WRITE_PROTECT:
		return fmt.Errorf("%w: the drive is write-protected (%w)", fs.ErrPermission, err)
	case windows.ERROR_DELETE_PENDING:
		return fmt.Errorf("%w: the file is being removed (%w)", fs.ErrNotExist, err)
	case windows.ERROR_NETNAME_DELETED, windows.ERROR_UNEXP_NET_ERR, windows.ERROR_BAD_NETPATH, windows.ERROR_BAD_NET_NAME:
		return fmt.Errorf("%w: the drive is another computer's: processes share memory on one computer only (%w)", errors.ErrUnsupported, err)
	case windows.ERROR_INVALID_NAME, windows.ERROR_BAD_PATHNAME:
		return fmt.Errorf("%w: no file can have this name (%w)", fs.ErrInvalid, err)
	case windows.ERROR_FILENAME_EXCED_RANGE:
		return fmt.Errorf("%w: %w (%w)", fs.ErrInvalid, syscall.ENAMETOOLONG, err)
	}
	return err
}

// OpenExisting opens the file of a path for attaching. It follows no symbolic
// link. The error is an *fs.PathError, which wraps errs.Insecure if the path is that of a
// symbolic link or of what cannot be opened as a file. Callers must still ask Identify or
// CheckNamed what the file is.
func OpenExisting(path string, readOnly bool) (*os.File, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, errs.Path("open", path, fs.ErrInvalid)
	}
	access := uint32(windows.GENERIC_READ | windows.GENERIC_WRITE)
	if readOnly {
		access = windows.GENERIC_READ
	}
	var h windows.Handle
	err = patiently(func() (err error) {
		// Whoever serves a pipe of that name is not to act in this user's name.
		h, err = windows.CreateFile(name, access, shareAll, nil, windows.OPEN_EXISTING,
			windows.FILE_ATTRIBUTE_NORMAL|windows.FILE_FLAG_OPEN_REPARSE_POINT|windows.SECURITY_SQOS_PRESENT|windows.SECURITY_ANONYMOUS, 0)
		return err
	})
	if err != nil {
		attributes, failed := windows.GetFileAttributes(name)
		if failed == nil && attributes&windows.FILE_ATTRIBUTE_DIRECTORY != 0 {
			err = fmt.Errorf("%w: not a regular file (%w)", errs.Insecure, err)
		}
		return nil, errs.Path("open", path, err)
	}
	f := os.NewFile(uintptr(h), path)
	if kind, _ := windows.GetFileType(h); kind != windows.FILE_TYPE_DISK {
		return nil, CloseAfter(f, errs.Path("open", path, fmt.Errorf("%w: not a regular file", errs.Insecure)))
	}
	info, err := stat(f, path)
	if err != nil {
		return nil, CloseAfter(f, err)
	}
	if info.FileAttributes&windows.FILE_ATTRIBUTE_REPARSE_POINT != 0 {
		return nil, CloseAfter(f, errs.Path("open", path, fmt.Errorf("%w: a symbolic link, or another reparse point", errs.Insecure)))
	}
	return f, nil
}

// Identify returns the identity of a regular file and its size in bytes. The
// error is an *fs.PathError, which wraps errs.Insecure if the file is not a
// regular file. It never blocks.
func Identify(f *os.File, path string) (Key, int64, error) {
	info, err := stat(f, path)
	return keyOf(&info), sizeOf(&info), err
}

// FileSize returns the size in bytes of a regular file. Its errors are those of
// Identify. It never blocks.
func FileSize(f *os.File, path string) (int64, error) {
	info, err := stat(f, path)
	return sizeOf(&info), err
}

// stat returns what the system knows of a regular file, and an error for any other file.
func stat(f *os.File, path string) (info windows.ByHandleFileInformation, err error) {
	err = withHandle(f, func(h windows.Handle) error { return windows.GetFileInformationByHandle(h, &info) })
	if err != nil {
		return info, errs.Path("stat", path, err)
	}
	if info.FileAttributes&windows.FILE_ATTRIBUTE_DIRECTORY != 0 {
		return info, errs.Path("open", path, fmt.Errorf("%w: not a regular file", errs.Insecure))
	}
	return info, nil
}

func keyOf(info *windows.ByHandleFileInformation) Key {
	k := Key{uint64(info.VolumeSerialNumber), uint64(info.FileIndexHigh)<<32 | uint64(info.FileIndexLow)}
	if onWine {
		// Wine tells the number of a volume only while a file has the name by which it was opened.
		k.Dev = 0
	}
	return k
}

// onWine is whether this is not Windows itself.
var onWine = windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil

func sizeOf(info *windows.ByHandleFileInformation) int64 {
	return int64(info.FileSizeHigh)<<32 | int64(info.FileSizeLow)
}

// Remove removes the name of a file. Processes that have the file open or mapped
// keep it. Windows removes no file that is mapped, and keeps the name of one that is open,
// so the file gets another name first. If it cannot be removed then, the next process that
// makes a segment of the same name does that, if nobody has it mapped any more. The error
// is an *fs.PathError.
func Remove(path string) error {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return errs.Path("remove", path, fs.ErrInvalid)
	}
	attributes, err := windows.GetFileAttributes(name)
	if err == nil && attributes&windows.FILE_ATTRIBUTE_DIRECTORY != 0 {
		err = windows.ERROR_ACCESS_DENIED
	}
	aside := besideName(path, oldSuffix)
	if err == nil {
		err = patiently(func() error { return move(path, aside) })
	}
	if err != nil {
		return errs.Path("remove", path, explained(err))
	}
	if name, err = windows.UTF16PtrFromString(aside); err == nil {
		_ = windows.DeleteFile(name)
	}
	return nil
}

// move gives a file another name, and fails if that exists.
func move(from, to string) error {
	a, err := windows.UTF16PtrFromString(from)
	if err != nil {
		return err
	}
	b, err := windows.UTF16PtrFromString(to)
	if err != nil {
		return err
	}
	return windows.MoveFileEx(a, b, windows.MOVEFILE_WRITE_THROUGH)
}

// inSharedDir reports whether a path is in the directory of segments whose names are no
// paths.
func inSharedDir(path string) bool {
	return len(path) > len(sharedDir) && strings.EqualFold(path[:len(sharedDir)], sharedDir)
}
