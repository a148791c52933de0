package shm

import (
	"bytes"
	"fmt"
	"runtime"
)

// CharArray is a C string in shared memory: Len bytes, of which those before
// the first NUL are the text. It is unsynchronised, as RawValue is; String is
// the locked form.
//
// Source: a ctypes c_char array, whose value and raw it matches operation by
// operation (https://docs.python.org/3/library/ctypes.html).
type CharArray struct {
	b []byte
	m *mapping
}

var charLayout = func() *Layout {
	l, err := ParseLayout(byteOrder + "c")
	if err != nil {
		panic(err)
	}
	return &l
}()

// NewCharArray attaches to the C string of that name, or makes one of size
// bytes, all NUL. With size 0 it takes the size found, and the error wraps
// fs.ErrNotExist if there is none. Other errors are those of NewRawValue.
func NewCharArray(s *Segment, name string, size int) (CharArray, error) {
	return newCharArray(s, label{name: name}, size)
}

func newCharArray(s *Segment, l label, size int) (CharArray, error) {
	count, err := lengthOrFound(l.name, size)
	if err != nil {
		return CharArray{}, err
	}
	m, r, err := s.place(shape{label: l, layout: charLayout, count: count, access: AccessRaw, kind: kindChars}, nil)
	if err != nil {
		return CharArray{}, err
	}
	return CharArray{sliceAt[byte](m, r.data, int(r.count)), m}, nil
}

// CharArrayAt returns the C string of size bytes at off in a foreign segment.
// The error wraps fs.ErrInvalid where it is not inside.
func CharArrayAt(s *Segment, off int64, size int) (CharArray, error) {
	m, err := s.foreign(off, size, 1, 1)
	if err != nil {
		return CharArray{}, err
	}
	return CharArray{sliceAt[byte](m, off, size), m}, nil
}

// Len returns the size in bytes.
func (c CharArray) Len() int { return len(c.b) }

// Value returns the bytes before the first NUL, or all of them. It panics with
// an error that wraps ErrFormat where another program has cut the file off.
func (c CharArray) Value() string {
	// One copy first: the text must not change between the search and the copy.
	return cString(c.Raw())
}

func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
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
	err := c.m.guarded(func() error { f(); return nil })
	runtime.KeepAlive(c.m)
	return err
}

// change is touch where f writes.
func (c CharArray) change(f func()) error {
	if c.m != nil && c.m.readOnly {
		return c.m.refusal
	}
	return c.touch(f)
}

// Bytes returns the memory itself, valid until Close of the segment.
func (c CharArray) Bytes() []byte { return c.b }
