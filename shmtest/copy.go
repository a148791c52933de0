package shmtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"example.org/shm/internal/format"
	"example.org/shm/internal/sys"
)

// copyOf makes a file that has the contents of a segment. Whoever attaches to it does
// what he would do with that segment itself.
func copyOf(t testing.TB, size int64, pages map[int64][]byte) (f *os.File, err error) {
	head := pages[0]
	start, err := format.CheckHeader(head, size)
	if err != nil {
		return nil, fmt.Errorf("the segment is damaged: %w", err)
	}
	if f, err = sys.CreateAnonymous(head, size); errors.Is(err, errors.ErrUnsupported) {
		f, err = sys.CreateNamed(filepath.Join(t.TempDir(), "copy"), 0o600, head, size)
	}
	if err != nil {
		return nil, err
	}
	for off, b := range pages {
		if _, err := f.WriteAt(b[:min(int64(len(b)), max(size-off, 0))], off); err != nil {
			return nil, sys.CloseAfter(f, err)
		}
	}
	if start.Home == 0 {
		return f, nil
	}
	// A segment notices that it is a copy, and is repaired then. A crash does not move a
	// segment: what it leaves is repaired later, or never.
	key, _, err := sys.Identify(f, f.Name())
	if err != nil {
		return nil, sys.CloseAfter(f, err)
	}
	boot := sys.BootID()
	if sys.InMemory(f) {
		boot = ""
	}
	home := format.Seal(format.Home(boot, key.Ino, start.Identity))
	if _, err := f.WriteAt(binary.NativeEndian.AppendUint64(nil, home), int64(unsafe.Offsetof(format.Header{}.Home))); err != nil {
		return nil, sys.CloseAfter(f, err)
	}
	return f, nil
}
