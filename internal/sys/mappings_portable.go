//go:build (linux && shmportable) || darwin || freebsd

package sys

import (
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"
)

// mappedFile is a mapping of a file.
type mappedFile struct {
	start, end uintptr
	file       Key
	storage    *os.File // of flushed, if the system needs one
}

// mappings has all that Map has returned.
var mappings struct {
	sync.Mutex // of those who change it
	all        atomic.Pointer[[]mappedFile]
}

// mapped and unmapping are told of each mapping.
func mapped(b []byte, f *os.File) error {
	st, err := stat(f, f.Name())
	if err != nil {
		return err
	}
	storage, err := storageOf(f)
	if err != nil {
		return err
	}
	// SAFETY: addresses are only compared.
	start := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	changeMappings(func(all []mappedFile) []mappedFile {
		return append(all, mappedFile{start, start + uintptr(len(b)), keyOf(&st), storage})
	})
	return nil
}

func unmapping(b []byte) {
	// SAFETY: as in mapped.
	start := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	changeMappings(func(all []mappedFile) []mappedFile {
		return slices.DeleteFunc(all, func(m mappedFile) bool {
			if m.start == start && m.storage != nil {
				_ = m.storage.Close() // nothing was written through it
			}
			return m.start == start
		})
	})
}

func changeMappings(change func([]mappedFile) []mappedFile) {
	mappings.Lock()
	defer mappings.Unlock()
	var all []mappedFile
	if old := mappings.all.Load(); old != nil {
		all = slices.Clone(*old)
	}
	all = change(all)
	mappings.all.Store(&all)
}

// mappingOf returns the file and the offset of a word; found is false for memory of this
// process.
func mappingOf(word *atomic.Uint32) (file Key, off uint64, found bool) {
	// SAFETY: addresses are only compared.
	addr := uintptr(unsafe.Pointer(word))
	if all := mappings.all.Load(); all != nil {
		for _, m := range *all {
			if m.start <= addr && addr < m.end {
				return m.file, uint64(addr - m.start), true
			}
		}
	}
	return Key{}, 0, false
}

func isMapped(word *atomic.Uint32) bool {
	_, _, found := mappingOf(word)
	return found
}
