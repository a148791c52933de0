package sys

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// On macOS fsync(2) and msync(2) give a file's bytes to the disk, which may still keep them
// in memory. F_FULLFSYNC has the disk write what it keeps.

// onDisk returns when the bytes that the system has given to the disk of a file are written.
// Some filesystems do not have that, as Go's os.File.Sync knows; fsync does what they can.
func onDisk(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_FULLFSYNC, 0)
	if errors.Is(err, unix.ENOTSUP) {
		return unix.Fsync(fd)
	}
	return err
}

// storageOf returns a descriptor for flushed, which a mapping keeps.
func storageOf(f *os.File) (*os.File, error) {
	storage, err := Duplicate(f, true)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	return storage, nil
}

// flushed finishes what msync has done for a mapping.
func flushed(b []byte) error {
	// SAFETY: the address is only compared.
	start := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	if all := mappings.all.Load(); all != nil {
		for _, m := range *all {
			if m.start == start {
				return withDescriptor(m.storage, onDisk)
			}
		}
	}
	return unix.EINVAL
}
