//go:build linux

package shm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// hostileStruct is a struct whose layout takes a long format.
type hostileStruct struct {
	A bool
	B int64
	C [3]struct{ X, Y float32 }
	D [16]byte `shm:"d,char"`
}

// hostileGrown is what a later program makes of it.
type hostileGrown struct {
	A bool
	B int64
	C [3]struct{ X, Y float32 }
	D [16]byte `shm:"d,char"`
	E bool
}

// hostileValues attaches to, or makes, a value of each kind. It returns the
// first error of each that is refused, and touches each that is not.
func hostileValues(s *Segment) (refused []error) {
	add := func(err error) {
		if err != nil {
			refused = append(refused, err)
		}
	}
	if v, err := NewRawValue(s, "raw", int64(7)); err == nil {
		v.Set(v.Get())
	} else {
		add(err)
	}
	if v, err := NewAtomic(s, "atomic", uint32(7)); err == nil {
		v.Add(1)
	} else {
		add(err)
	}
	if a, err := NewRawArray[float32](s, "array", 100); err == nil {
		a.Set(99, a.Get(0))
	} else {
		add(err)
	}
	if c, err := NewCharArray(s, "chars", 33); err == nil {
		add(c.SetRaw(c.Raw()))
	} else {
		add(err)
	}
	if v, err := NewRawStruct(s, "struct", hostileStruct{B: 7}); err == nil {
		v.Set(v.Get())
	} else {
		add(err)
	}
	if v, err := NewValue(s, "locked", float64(7)); err == nil {
		v.Load()
	} else {
		add(err)
	}
	if a, err := NewArray[uint16](s, "locked array", 3); err == nil {
		a.Load(2)
	} else {
		add(err)
	}
	if v, err := NewStruct(s, "published", hostileStruct{B: 7}); err == nil {
		v.Load()
	} else {
		add(err)
	}
	if v, err := NewStruct(s, "published", hostileGrown{}); err == nil {
		v.Load()
	} else {
		add(err)
	}
	if text, err := NewString(s, "text", 5); err == nil {
		text.Load()
	} else {
		add(err)
	}
	if mu, err := NewMutex(s, "mutex"); err == nil {
		mu.TryLock() // it may stay locked: the word may be anything
	} else {
		add(err)
	}
	return refused
}

// image returns the bytes of a valid segment with a value of each kind.
func image(t testing.TB) []byte {
	name := testName(t)
	s := open(t, name, &Options{MaxSize: 1 << 20}) // thousands of copies will be mapped
	if errs := hostileValues(s); errs != nil {
		t.Fatal(errs)
	}
	// The lock stays held by this process's id, whose lease is on another file:
	// who attaches to a copy finds the owner dead.
	return must(os.ReadFile(Path(name)))(t)
}

// lay writes a file as somebody else would lay it there.
func lay(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// refuses opens a file that may be anything. An error must be one of the three
// and leave the file as it was; a segment must be usable, value by value.
func refuses(t testing.TB, path string, b []byte) error {
	t.Helper()
	s, err := Open(path, nil)
	if (s == nil) == (err == nil) {
		t.Fatalf("%v, %v", s, err)
	}
	if err != nil {
		if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrInsecure) {
			t.Fatalf("%v", err)
		}
		var of *fs.PathError
		if !errors.As(err, &of) || of.Path != path {
			t.Fatalf("%v does not name %s", err, path)
		}
		if after := must(os.ReadFile(path))(t); !bytes.Equal(after, b) {
			t.Fatalf("the file has changed, and then: %v", err)
		}
		return err
	}
	for e := range s.Entries() {
		if found, ok := s.Lookup(e.Name); !ok || found.Name != e.Name {
			t.Fatalf("no entry %q, which is listed", e.Name)
		}
		e.Any()
		e.Text()
		e.Lock()
	}
	for _, err := range hostileValues(s) {
		if err.Error() == "" {
			t.Fatal("an error without words")
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return nil
}

// watchdog ends the test binary, with what it was doing, if the test hangs.
func watchdog(t testing.TB) (doing func(string)) {
	what := make(chan string)
	go func() {
		last := t.Name()
		for {
			select {
			case last = <-what:
			case <-t.Context().Done():
				return
			case <-time.After(time.Minute):
				panic("endless: " + last)
			}
		}
	}()
	return func(s string) { what <- s }
}

func TestFilesThatAreNoSegment(t *testing.T) {
	valid := image(t)
	random := make([]byte, 1<<17)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	other := bytes.Clone(valid)
	slices.Reverse(other[12:16])
	version := bytes.Clone(valid)
	version[8]++
	for _, b := range [][]byte{other, version} {
		binary.NativeEndian.PutUint32(b[staticHeader:], crc32.ChecksumIEEE(b[:staticHeader]))
	}
	doing := watchdog(t)
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, ErrFormat},
		{"one byte", valid[:1], ErrFormat},
		{"text", []byte("no segment at all\n"), ErrFormat},
		{"long text", bytes.Repeat([]byte("no segment at all\n"), 10_000), ErrFormat},
		{"zeros", make([]byte, 1<<17), ErrFormat},
		{"ones", bytes.Repeat([]byte{0xff}, 1<<17), ErrFormat},
		{"random", random, ErrFormat},
		{"magic and random", append(valid[:8:8], random...), ErrFormat},
		{"first line and random", append(valid[:line:line], random...), ErrFormat},
		{"header and random", append(valid[:headerSize:headerSize], random[:len(valid)-headerSize]...), ErrFormat},
		{"header and zeros", append(valid[:headerSize:headerSize], make([]byte, len(valid)-headerSize)...), ErrFormat},
		{"header and ones", append(valid[:headerSize:headerSize], bytes.Repeat([]byte{0xff}, len(valid)-headerSize)...), ErrFormat},
		{"other byte order", other, ErrVersion},
		{"newer version", version, ErrVersion},
		{"line ends translated", bytes.ReplaceAll(valid, []byte("\r\n"), []byte("\n")), ErrFormat},
	} {
		doing(c.name)
		path := filepath.Join(t.TempDir(), "file")
		lay(t, path, c.b)
		if err := refuses(t, path, c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestSegmentCutAtEachLength cuts a segment down byte by byte.
func TestSegmentCutAtEachLength(t *testing.T) {
	valid := image(t)
	path := Path(testName(t))
	lay(t, path, valid)
	doing := watchdog(t)
	step := 1
	if testing.Short() || raceEnabled {
		step = 61
	}
	for n := len(valid) - 1; n >= 0; n -= step {
		if n%1000 < step {
			doing(fmt.Sprintf("cut at %d", n))
		}
		if err := os.Truncate(path, int64(n)); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(path, nil); s != nil || !errors.Is(err, ErrFormat) {
			t.Fatalf("cut at %d: %v, %v", n, s, err)
		}
		if size := must(os.Stat(path))(t).Size(); size != int64(n) {
			t.Fatalf("cut at %d: %d bytes afterwards", n, size)
		}
	}
}

// unchecked reports whether the byte at off may be anything: who waits for
// names, who has attached, and what is in the values themselves.
func unchecked(records []*record, off int64) bool {
	if off >= 104 && off < 108 || off >= tableOffset && off < headerSize {
		return true
	}
	for _, r := range records {
		if off >= r.data && off < r.data+r.dataSize(r.capacity) {
			return true
		}
	}
	return false
}

// TestEachByteFlipped changes each byte of the first page and of the directory,
// in each bit and as a whole.
func TestEachByteFlipped(t *testing.T) {
	valid := image(t)
	name := testName(t)
	path := Path(name)
	lay(t, path, valid)
	records := open(t, name, nil).m.Load().dir.all()
	end, _ := unseal(binary.NativeEndian.Uint64(valid[72:]))
	masks := []byte{0xff, 1, 2, 4, 8, 16, 32, 64, 128}
	if testing.Short() || raceEnabled {
		masks = masks[:2]
	}
	doing := watchdog(t)
	for off := range int64(end) * line {
		if off >= pageSize && off < headerSize {
			continue // the table
		}
		doing(fmt.Sprintf("byte %d", off))
		free := unchecked(records, off)
		if free && off%8 > 0 && off > 512 {
			continue // data and table: bytes are much alike
		}
		for _, mask := range masks {
			b := bytes.Clone(valid)
			b[off] ^= mask
			// A new file each time: this process shares what it has mapped.
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			lay(t, path, b)
			if err := refuses(t, path, b); (err == nil) != free {
				t.Fatalf("byte %d flipped by %#x: %v", off, mask, err)
			}
		}
	}
}

// forge makes the checksums of an image fit what is in it, as far as it can be
// followed, so that all other checks are put to the test.
func forge(b []byte) {
	ne := binary.NativeEndian
	if len(b) < headerSize {
		return
	}
	ne.PutUint32(b[staticHeader:], crc32.ChecksumIEEE(b[:staticHeader]))
	for i := range 5 {
		word := b[line+8*i:]
		ne.PutUint64(word, seal(ne.Uint64(word)&sealedMax))
	}
	for off := uint64(headerSize); off+recordFixed <= uint64(len(b)); {
		size, meta := ne.Uint64(b[off:]), uint64(ne.Uint32(b[off+8:]))
		if meta >= recordFixed && meta <= uint64(len(b))-off {
			ne.PutUint32(b[off+recordCheck:], checkRecord(b[off:off+meta]))
		}
		if size == 0 || size > uint64(len(b)) {
			return
		}
		off += size
	}
}

// TestForgedSegments changes fields to numbers that are likely to overflow, and
// makes the checksums right.
func TestForgedSegments(t *testing.T) {
	valid := image(t)
	end, _ := unseal(binary.NativeEndian.Uint64(valid[72:]))
	doing := watchdog(t)
	path := Path(testName(t))
	lay(t, path, valid)
	numbers := []uint64{0, 1, 3, 64, 255, 1<<16 - 1, 1 << 31, 1<<32 - 1, 1<<40 - 1, 1 << 45, 1 << 63, 1<<64 - 64, 1<<64 - 1}
	if testing.Short() || raceEnabled {
		numbers = numbers[10:]
	}
	for off := int64(0); off < int64(end)*line; off += 2 {
		if off >= tableOffset && off < headerSize {
			continue
		}
		doing(fmt.Sprintf("offset %d", off))
		for _, n := range numbers {
			for _, width := range []int{1, 2, 4, 8} {
				if off%int64(width) != 0 || width < 8 && n>>(8*width) != 0 {
					continue
				}
				b := bytes.Clone(valid)
				word := binary.NativeEndian.AppendUint64(nil, n)
				if byteOrder == ">" {
					word = word[8-width:]
				}
				copy(b[off:], word[:width])
				forge(b)
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				lay(t, path, b)
				_ = refuses(t, path, b)
			}
		}
	}
}
