//go:build linux

package shm_test

import (
	"bytes"
	"context"
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

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
)

// hostileStruct is a struct whose layout takes a long format.
type hostileStruct struct {
	A bool
	B int64
	C [3]struct{ X, Y float32 }
	D [16]byte `shm:"d,char"`
}

// hostileGrown is hostileStruct in a later version of a program.
type hostileGrown struct {
	A bool
	B int64
	C [3]struct{ X, Y float32 }
	D [16]byte `shm:"d,char"`
	E bool
}

// hostileValues attaches to a value of each kind, or makes it. It returns an
// error for each value that is refused, and reads or changes each that is not.
func hostileValues(s *shm.Segment) (refused []error) {
	add := func(err error) {
		if err != nil {
			refused = append(refused, err)
		}
	}
	if v, err := shm.NewRawValue(s, "raw", int64(7)); err == nil {
		v.Set(v.Get())
	} else {
		add(err)
	}
	if v, err := shm.NewAtomic(s, "atomic", uint32(7)); err == nil {
		v.Add(1)
	} else {
		add(err)
	}
	if a, err := shm.NewRawArray[float32](s, "array", 100); err == nil {
		a.Set(99, a.Get(0))
	} else {
		add(err)
	}
	if c, err := shm.NewCharArray(s, "chars", 33); err == nil {
		add(c.SetRaw(c.Raw()))
	} else {
		add(err)
	}
	if v, err := shm.NewRawStruct(s, "struct", hostileStruct{B: 7}); err == nil {
		v.Set(v.Get())
	} else {
		add(err)
	}
	if v, err := shm.NewValue(s, "locked", float64(7)); err == nil {
		v.Load()
	} else {
		add(err)
	}
	if a, err := shm.NewArray[uint16](s, "locked array", 3); err == nil {
		a.Load(2)
	} else {
		add(err)
	}
	if v, err := shm.NewStruct(s, "published", hostileStruct{B: 7}); err == nil {
		v.Load()
	} else {
		add(err)
	}
	if v, err := shm.NewStruct(s, "published", hostileGrown{}); err == nil {
		v.Load()
	} else {
		add(err)
	}
	if text, err := shm.NewString(s, "text", 5); err == nil {
		text.Load()
	} else {
		add(err)
	}
	if a, err := shm.NewAtomicArray[uint64](s, "atomics", 5); err == nil {
		a.At(4).Add(1)
	} else {
		add(err)
	}
	if c, err := shm.NewCounter[int64](s, "counter"); err == nil {
		c.Add(1)
		c.Load()
	} else {
		add(err)
	}
	if g, err := shm.NewGauge[float64](s, "gauge"); err == nil {
		g.Set(1)
		g.Load()
	} else {
		add(err)
	}
	if h, err := shm.NewHistogram(s, "histogram", []float64{1, 2}); err == nil {
		h.Observe(1.5)
		h.Load()
	} else {
		add(err)
	}
	if r, err := shm.NewRing[hostileStruct](s, "ring", 3); err == nil {
		r.Last()
		reader := r.From(0)
		for ctx := done(); err == nil; {
			_, _, err = reader.Next(ctx)
		}
	} else {
		add(err)
	}
	if rows, err := shm.NewTable[hostileStruct](s, "table", 3); err == nil {
		rows.Row(2).Load()
	} else {
		add(err)
	}
	if rows, err := shm.NewTable[hostileGrown](s, "table", 0); err == nil {
		for _, row := range rows.All() {
			_ = row.E
		}
	} else {
		add(err)
	}
	if locks, err := shm.NewMutexes(s, "mutexes", 3); err == nil {
		locks.Owner(2)
		locks.At(0).TryLock() // as below
	} else {
		add(err)
	}
	if mu, err := shm.NewMutex(s, "mutex"); err == nil {
		mu.TryLock() // It may stay locked: the word may be anything.
	} else {
		add(err)
	}
	return refused
}

// done returns a context that is over.
func done() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// image returns the bytes of a valid segment with a value of each kind.
func image(t testing.TB) []byte {
	t.Helper()
	name := shmtest.Name(t)
	// Thousands of copies will be mapped.
	s := shmtest.Opened(shm.Open(name, &shm.Options{MaxSize: 1 << 20}))(t)
	if errs := hostileValues(s); errs != nil {
		t.Fatal(errs)
	}
	// The mutex stays locked by an id of this process, whose lease is on another
	// file: whoever attaches to a copy finds the owner dead.
	return shmtest.Must(os.ReadFile(shm.Path(name)))(t)
}

// refuses opens the file at path, whose bytes are b and may be anything, and
// returns the error of Open. An error must be one of the three and leave the
// file as it was. If there is none, the segment must be usable, value by value.
func refuses(t testing.TB, path string, b []byte) error {
	t.Helper()
	s, err := shm.Open(path, nil)
	if (s == nil) == (err == nil) {
		t.Fatalf("Open returns %v and %v", s, err)
	}
	if err != nil {
		if !errors.Is(err, shm.ErrFormat) && !errors.Is(err, shm.ErrVersion) && !errors.Is(err, shm.ErrInsecure) {
			t.Fatalf("the error is none of the three: %v", err)
		}
		var of *fs.PathError
		if !errors.As(err, &of) || of.Path != path {
			t.Fatalf("%v does not name %s", err, path)
		}
		if after := shmtest.Must(os.ReadFile(path))(t); !bytes.Equal(after, b) {
			t.Fatalf("the file has changed, although Open failed: %v", err)
		}
		return err
	}
	for e := range s.Entries() {
		if found, ok := s.Lookup(e.Name); !ok || found.Name != e.Name {
			t.Fatalf("Lookup does not find entry %q, which is listed", e.Name)
		}
		e.Any()
		e.Text()
		e.Lock()
	}
	for _, err := range hostileValues(s) {
		if err.Error() == "" {
			t.Fatal("an error has no text")
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return nil
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
		binary.NativeEndian.PutUint32(b[format.HeaderChecked:], crc32.ChecksumIEEE(b[:format.HeaderChecked]))
	}
	const line, header = format.Line, format.HeaderSize
	ones := bytes.Repeat([]byte{0xff}, 1<<17)
	doing := shmtest.Watchdog(t)
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, shm.ErrFormat},
		{"one byte", valid[:1], shm.ErrFormat},
		{"text", []byte("no segment at all\n"), shm.ErrFormat},
		{"long text", bytes.Repeat([]byte("no segment at all\n"), 10_000), shm.ErrFormat},
		{"zeros", make([]byte, 1<<17), shm.ErrFormat},
		{"ones", ones, shm.ErrFormat},
		{"random", random, shm.ErrFormat},
		{"magic and random", append(valid[:8:8], random...), shm.ErrFormat},
		{"first line and random", append(valid[:line:line], random...), shm.ErrFormat},
		{"header and random", append(valid[:header:header], random[:len(valid)-header]...), shm.ErrFormat},
		{"header and zeros", append(valid[:header:header], make([]byte, len(valid)-header)...), shm.ErrFormat},
		{"header and ones", append(valid[:header:header], ones[:len(valid)-header]...), shm.ErrFormat},
		{"other byte order", other, shm.ErrVersion},
		{"newer version", version, shm.ErrVersion},
		{"line ends translated", bytes.ReplaceAll(valid, []byte("\r\n"), []byte("\n")), shm.ErrFormat},
	} {
		doing(c.name)
		path := filepath.Join(t.TempDir(), "file")
		shmtest.WriteFile(t, path, c.b)
		if err := refuses(t, path, c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestSegmentCutAtEachLength cuts a segment down byte by byte. A copy that lacks the last
// values is repaired; one that is shorter than any segment is refused.
func TestSegmentCutAtEachLength(t *testing.T) {
	valid := image(t)
	path := shm.Path(shmtest.Name(t))
	shmtest.WriteFile(t, path, valid)
	doing := shmtest.Watchdog(t)
	for n := len(valid) - 1; n >= format.FirstAllocation; n -= 257 {
		doing(fmt.Sprintf("cut at %d", n))
		copied := shm.Path(shmtest.Name(t))
		shmtest.WriteFile(t, copied, valid[:n])
		if err := refuses(t, copied, valid[:n]); err != nil {
			t.Errorf("cut at %d: %v", n, err)
		}
		if err := os.Remove(copied); err != nil {
			t.Fatal(err)
		}
	}
	valid = valid[:min(len(valid), format.FirstAllocation)]
	shmtest.WriteFile(t, path, valid)
	step := 1
	if testing.Short() || race.Enabled {
		step = 61
	}
	for n := len(valid) - 1; n >= 0; n -= step {
		if n%1000 < step {
			doing(fmt.Sprintf("cut at %d", n))
		}
		if err := os.Truncate(path, int64(n)); err != nil {
			t.Fatal(err)
		}
		if s, err := shm.Open(path, nil); s != nil || !errors.Is(err, shm.ErrFormat) {
			t.Fatalf("cut at %d: Open returns %v and %v", n, s, err)
		}
		if size := shmtest.Must(os.Stat(path))(t).Size(); size != int64(n) {
			t.Fatalf("cut at %d: the file has %d bytes afterwards", n, size)
		}
	}
}
