package shm

import (
	"bytes"
	"fmt"
	"runtime"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
)

// CharArray is a C string in shared memory: Len bytes, of which those before the
// first NUL are the text. It is unsynchronised, as RawValue is. String is the
// synchronised form.
//
// A CharArray is small and may be copied. It works after Close of its segment,
// except Bytes.
//
// Source: a ctypes c_char array, whose value and raw it matches operation by
// operation (https://docs.python.org/3/library/ctypes.html).
type CharArray struct {
	b []byte
	m *mapping
}

// NewCharArray attaches to the C string of that name, or makes one of size
// bytes, all NUL. If size is 0 it takes the size found, and if there is no such
// C string the error wraps fs.ErrNotExist. The other errors are those of
// NewRawValue.
func NewCharArray(s *Segment, name string, size int) (CharArray, error) {
	return newCharArray(s, format.Label{Name: name}, size)
}

func newCharArray(s *Segment, l format.Label, size int) (CharArray, error) {
	m, r, err := s.placeChars(l, format.Raw, size)
	if err != nil {
		return CharArray{}, err
	}
	return CharArray{mem.Slice[byte](&m.region, r.Data, int(r.Count)), m}, nil
}

// CharArrayAt returns the C string of size bytes at off in a foreign segment.
// The error wraps fs.ErrInvalid if it is not inside the segment.
func CharArrayAt(s *Segment, off int64, size int) (CharArray, error) {
	m, err := s.foreign(off, size, 1, 1)
	if err != nil {
		return CharArray{}, err
	}
	return CharArray{mem.Slice[byte](&m.region, off, size), m}, nil
}

// Len returns the size in bytes.
func (c CharArray) Len() int { return len(c.b) }

// Value returns the bytes before the first NUL, or all of them. It panics with
// an error that wraps ErrFormat where another program has cut the file off.
func (c CharArray) Value() string {
	// One copy first: the text must not change between the search and the copy.
	return mem.CString(c.Raw())
}

// SetValue writes s, and a NUL behind it if there is room. The bytes after that
// stay as they were, and a NUL in s is written like any other byte. A longer s
// is an error that wraps ErrTooLong and changes nothing, ErrReadOnly is one too,
// and ErrFormat where another program has cut the file off, perhaps after a part
// of s has been written.
func (c CharArray) SetValue(s string) error {
	if len(s) > len(c.b) {
		return fmt.Errorf("%w: %d bytes into a C string of %d", ErrTooLong, len(s), len(c.b))
	}
	return c.change(func() {
		if copy(c.b, s) < len(c.b) {
			c.b[len(s)] = 0
		}
	})
}

// Raw returns a copy of all Len bytes. It panics as Value does.
func (c CharArray) Raw() (b []byte) {
	if err := c.touch(func() { b = bytes.Clone(c.b) }); err != nil {
		panic(err)
	}
	return b
}

// SetRaw writes b at the start and leaves the bytes after it. Errors are those
// of SetValue.
func (c CharArray) SetRaw(b []byte) error {
	if len(b) > len(c.b) {
		return fmt.Errorf("%w: %d bytes into a C string of %d", ErrTooLong, len(b), len(c.b))
	}
	return c.change(func() { copy(c.b, b) })
}

// touch calls f, which copies. What it costs is little beside the copy.
func (c CharArray) touch(f func()) error {
	err := c.m.region.Guarded(func() error { f(); return nil })
	runtime.KeepAlive(c.m)
	return err
}

// change is touch where f writes.
func (c CharArray) change(f func()) error {
	if c.m != nil && c.m.region.ReadOnly {
		return c.m.refusal
	}
	return c.touch(f)
}

// Bytes returns the memory itself, valid until Close of the segment.
func (c CharArray) Bytes() []byte { return c.b }
