package sys

import (
	"errors"
	"os"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/windows"
)

// mapping is what Map has returned.
type mapping struct {
	start, end uintptr
	key        Key
	file       windows.Handle // for Flush
}

// mappings has all of this process, in ascending order.
var mappings struct {
	sync.RWMutex
	all []mapping
}

// Map maps the first size bytes of f, shared with all processes that map them. A file
// that is shorter is made so long, which takes no space in a sparse file; for reading
// only, the mapping ends where the file does. The caller calls Unmap once with what Map
// returned, and keeps it until no goroutine sleeps on a word in it. The error is the
// system's own.
func Map(f *os.File, size int, readOnly bool) (b []byte, err error) {
	if size <= 0 {
		return nil, windows.ERROR_INVALID_PARAMETER
	}
	protection, access := uint32(windows.PAGE_READWRITE), uint32(windows.FILE_MAP_READ|windows.FILE_MAP_WRITE)
	if readOnly {
		protection, access = windows.PAGE_READONLY, windows.FILE_MAP_READ
	}
	err = withHandle(f, func(h windows.Handle) error {
		var info windows.ByHandleFileInformation
		if err := windows.GetFileInformationByHandle(h, &info); err != nil {
			return err
		}
		length := int64(size)
		if readOnly {
			length = min(length, sizeOf(&info))
		}
		section, err := windows.CreateFileMapping(h, nil, protection, uint32(length>>32), uint32(length), nil)
		if err != nil {
			return explained(err)
		}
		defer windows.CloseHandle(section)
		start, err := windows.MapViewOfFile(section, access, 0, 0, uintptr(length))
		if err != nil {
			return err
		}
		m := mapping{start: start, end: start + uintptr(length), key: keyOf(&info)}
		me := windows.CurrentProcess()
		if err := windows.DuplicateHandle(me, h, me, &m.file, 0, false, windows.DUPLICATE_SAME_ACCESS); err != nil {
			_ = windows.UnmapViewOfFile(start)
			return err
		}
		mappings.Lock()
		defer mappings.Unlock()
		i, _ := slices.BinarySearchFunc(mappings.all, start, startsAt)
		mappings.all = slices.Insert(mappings.all, i, m)
		// SAFETY: the system has mapped these bytes, and Unmap is the only one to unmap them.
		b = unsafe.Slice((*byte)(addressOf(start)), length)
		return nil
	})
	return b, err
}

// addressOf returns an address that the system has given as a number, as a pointer.
func addressOf(a uintptr) unsafe.Pointer {
	// SAFETY: the address is not Go's, so the collector does not move what is there.
	return *(*unsafe.Pointer)(unsafe.Pointer(&a))
}

func startsAt(m mapping, start uintptr) int {
	switch {
	case m.start < start:
		return -1
	case m.start > start:
		return 1
	}
	return 0
}

// located returns the file and the offset of an address in a mapping, or false if it is
// in none.
func located(address uintptr) (key Key, off int64, ok bool) {
	mappings.RLock()
	defer mappings.RUnlock()
	i, found := slices.BinarySearchFunc(mappings.all, address, startsAt)
	if !found {
		i--
	}
	if i < 0 || address >= mappings.all[i].end {
		return Key{}, 0, false
	}
	m := &mappings.all[i]
	return m.key, int64(address - m.start), true
}

// Unmap unmaps what Map returned. It fails only for a slice that Map has not returned.
func Unmap(b []byte) error {
	// SAFETY: the address is only compared.
	start := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	mappings.Lock()
	defer mappings.Unlock()
	i, found := slices.BinarySearchFunc(mappings.all, start, startsAt)
	if !found || len(b) == 0 {
		return windows.ERROR_INVALID_ADDRESS
	}
	m := mappings.all[i]
	if err := windows.UnmapViewOfFile(m.start); err != nil {
		return err
	}
	mappings.all = slices.Delete(mappings.all, i, i+1)
	return windows.CloseHandle(m.file)
}

// Flush writes the first bytes of a mapping to the file's storage and returns when they
// are there. It may block for as long as the storage needs. The error is the system's
// own.
//
// Preconditions: b begins where a mapping does.
func Flush(b []byte) error {
	// SAFETY: the address is looked up, and the mapping is the caller's.
	start := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	mappings.RLock()
	defer mappings.RUnlock()
	i, found := slices.BinarySearchFunc(mappings.all, start, startsAt)
	if !found {
		return windows.ERROR_INVALID_ADDRESS
	}
	if err := windows.FlushViewOfFile(start, uintptr(len(b))); err != nil {
		return err
	}
	err := windows.FlushFileBuffers(mappings.all[i].file)
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) { // It is open for reading only, and has nothing to write.
		return nil
	}
	return err
}
