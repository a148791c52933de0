package segments

import (
	"os"
	"path/filepath"
	"unsafe"

	"example.org/shm"
	"golang.org/x/sys/windows"
)

// PathMark says what a name has that is a path.
const PathMark = "a slash, a backslash or a drive letter"

// openRead opens a file that may be anything. It keeps nobody from writing to the file, or
// from giving it another name.
func openRead(path string) (*os.File, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	const share = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE
	h, err := windows.CreateFile(name, windows.GENERIC_READ, share, nil, windows.OPEN_EXISTING, windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}

var getCompressedFileSize = windows.NewLazySystemDLL("kernel32.dll").NewProc("GetCompressedFileSizeW")

// Stat returns what the system says of the file of a segment's name. Windows has no user
// ids.
func Stat(name string) (File, error) {
	path, err := filepath.Abs(shm.Path(name))
	if err != nil {
		return File{}, err
	}
	f, err := openRead(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return File{}, err
	}
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(windows.Handle(f.Fd()), &info); err != nil {
		return File{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return File{
		Path: path, Size: st.Size(), Used: onDisk(path, st.Size()), Mode: st.Mode(),
		Dev: uint64(info.VolumeSerialNumber), Inode: uint64(info.FileIndexHigh)<<32 | uint64(info.FileIndexLow),
		Changed: st.ModTime().UnixNano(),
	}, nil
}

// onDisk returns how many bytes a sparse file takes, or its size if the system does not
// say.
func onDisk(path string, size int64) int64 {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil || getCompressedFileSize.Find() != nil {
		return size
	}
	var high uint32
	// SAFETY: the call reads the path and writes high before it returns.
	low, _, err := getCompressedFileSize.Call(uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(&high)))
	if uint32(low) == 1<<32-1 && err != windows.Errno(0) {
		return size
	}
	return int64(high)<<32 | int64(uint32(low))
}
