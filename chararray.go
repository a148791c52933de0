package shm

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
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
	shadow race.Shadow
	b      []byte
	m      *mapping
}

// NewCharArray attaches to the C string of that name, or makes one of size
// bytes, all NUL. If size is 0 it takes the size found, and if there is no such
// C string the error wraps fs.ErrNotExist. A size of more than 1 GiB must be asked
// for; if it is only found, the error wraps ErrTooLong. The other errors are those of
// NewRawValue.
func NewCharArray(s *Segment, name string, size int) (CharArray, error) {
	return newCharArray(s, format.Label{Name: name}, size)
}

func newCharArray(s *Segment, l format.Label, size int) (CharArray, error) {
	m, r, err := s.placeChars(l, format.Raw, size)
	if err != nil {
		return CharArray{}, err
	}
	if err := tooLongToFind(l.Name, size, int(r.Count)); err != nil {
		return CharArray{}, err
	}
	return charArrayAt(m, r.Data, int(r.Count)), nil
}

// CharArrayAt returns the C string of size bytes at off in a foreign segment.
// The error wraps fs.ErrInvalid if it is not inside the segment.
func CharArrayAt(s *Segment, off int64, size int) (CharArray, error) {
	m, err := s.foreign(off, size, 1, 1)
	if err != nil {
		return CharArray{}, err
	}
	return charArrayAt(m, off, size), nil
}

func charArrayAt(m *mapping, off int64, size int) CharArray {
	return CharArray{m.file.cells.Shadow(off, size), mem.Slice[byte](&m.region, off, size), m}
}

// maxFound is the largest size of a C string or String that a constructor takes from
// the segment. The size comes from memory that others write, and is allocated when the
// text is copied.
const maxFound = 1 << 30

// tooLongToFind refuses a size that was found and not asked for.
func tooLongToFind(name string, asked, found int) error {
	if asked == 0 && found > maxFound {
		return errs.Wrap(fmt.Errorf("%w: it claims to have %d bytes; if that is right, ask for this size", ErrTooLong, found), "value %q", name)
	}
	return nil
}

// Len returns the size in bytes.
func (c CharArray) Len() int { return len(c.b) }

// Value returns the bytes before the first NUL, or all of them. If another program
// has cut the file off, Value panics with an error that wraps ErrFormat.
func (c CharArray) Value() (text string) {
	in, old := c.m, debug.SetPanicOnFault(true)
	defer func() {
		if in != nil {
			panic(in.region.Faulted(old, recover()))
		}
	}()
	n := bytes.IndexByte(c.b, 0)
	if n < 0 {
		n = len(c.b)
	}
	c.shadow.Read(0, n+1)
	text = string(c.b[:n])
	if len(c.b) > 0 {
		// Reads the last byte: a file that was cut off is an error wherever the text
		// ends.
		runtime.KeepAlive(c.b[len(c.b)-1])
	}
	in = nil
	if !old {
		debug.SetPanicOnFault(false)
	}
	if i := strings.IndexByte(text, 0); i >= 0 {
		text = text[:i] // the text changed between the search and the copy
	}
	runtime.KeepAlive(c.m)
	return text
}

// SetValue writes s, and a NUL after it if there is room. It leaves the bytes after
// that as they were. It writes a NUL in s like any other byte. The error wraps
// ErrTooLong if s is longer than Len, or ErrReadOnly; then nothing is changed. It
// wraps ErrFormat if another program has cut the file off; then a part of s may be
// written.
func (c CharArray) SetValue(s string) error { return setChars(c, s, true) }

// Raw returns a copy of all Len bytes. It panics as Value does.
func (c CharArray) Raw() (b []byte) {
	in, old := c.m, debug.SetPanicOnFault(true)
	defer func() {
		if in != nil {
			panic(in.region.Faulted(old, recover()))
		}
	}()
	c.shadow.Read(0, len(c.b))
	b = bytes.Clone(c.b)
	in = nil
	if !old {
		debug.SetPanicOnFault(false)
	}
	runtime.KeepAlive(c.m)
	return b
}

// SetRaw writes b at the start and leaves the bytes after it. The errors are those
// of SetValue.
func (c CharArray) SetRaw(b []byte) error { return setChars(c, b, false) }

// setChars writes s to c, and a NUL after it if terminate is set and there is room.
func setChars[S string | []byte](c CharArray, s S, terminate bool) (err error) {
	m, b := c.m, c.b
	switch {
	case len(s) > len(b):
		return fmt.Errorf("%w: %d bytes, the C string holds %d", ErrTooLong, len(s), len(b))
	case m != nil && m.refusal != nil:
		return m.refusal
	}
	in, old := m, debug.SetPanicOnFault(true)
	defer func() {
		if in != nil {
			err = in.region.Faulted(old, recover())
		}
	}()
	n := copy(b, s)
	if terminate && n < len(b) {
		b[n] = 0
		n++
	}
	c.shadow.Write(0, n)
	in = nil
	if !old {
		debug.SetPanicOnFault(false)
	}
	runtime.KeepAlive(m)
	return nil
}

// Bytes returns the memory itself, valid until Close of the segment. The race detector,
// which sees the other methods, does not see what is done with it.
func (c CharArray) Bytes() []byte {
	c.m.lend()
	return c.b
}
