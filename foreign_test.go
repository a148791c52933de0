//go:build linux

package shm_test

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/shmtest"
)

func TestForeignMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "foreign")
	b := make([]byte, 1000)
	for i := range b {
		b[i] = byte(i)
	}
	shmtest.WriteFile(t, path, b)
	s := open(t, path, &shm.Options{Foreign: true})
	if s.Size() != 1000 {
		t.Errorf("size %d", s.Size())
	}
	v := shmtest.Must(shm.RawValueAt[uint32](s, 4))(t)
	if v.Get() != binary.NativeEndian.Uint32(b[4:]) {
		t.Errorf("%#x", v.Get())
	}
	v.Set(0)
	if got := shmtest.Must(os.ReadFile(path))(t); got[3] != 3 || got[4] != 0 || got[7] != 0 || got[8] != 8 {
		t.Errorf("%v", got[:10])
	}
	if a := shmtest.Must(shm.RawArrayAt[uint8](s, 999, 1))(t); a.Get(0) != 999%256 {
		t.Error(a.Get(0))
	}
	if a := shmtest.Must(shm.RawArrayAt[uint64](s, 0, 125))(t); a.Len() != 125 {
		t.Error(a.Len())
	}
	if c := shmtest.Must(shm.CharArrayAt(s, 1, 20))(t); c.Value() != "\x01\x02\x03" {
		t.Errorf("%q", c.Value())
	}
	if r := shmtest.Must(shm.RawStructAt[struct{ A, B uint8 }](s, 998))(t); r.Get().B != 999%256 {
		t.Error(r.Get())
	}
	for what, err := range map[string]error{
		"behind the end":   shmtest.Error(shm.RawValueAt[uint8](s, 1000)),
		"over the end":     shmtest.Error(shm.RawValueAt[uint64](s, 996)),
		"before the start": shmtest.Error(shm.RawValueAt[uint8](s, -1)),
		"far behind":       shmtest.Error(shm.RawValueAt[uint8](s, math.MaxInt64)),
		"far before":       shmtest.Error(shm.RawValueAt[uint8](s, math.MinInt64)),
		"not aligned":      shmtest.Error(shm.RawValueAt[uint32](s, 2)),
		"too many":         shmtest.Error(shm.RawArrayAt[uint64](s, 0, 126)),
		"overflow":         shmtest.Error(shm.RawArrayAt[uint64](s, 8, math.MaxInt/8+1)),
		"none":             shmtest.Error(shm.RawArrayAt[uint64](s, 0, 0)),
		"fewer than none":  shmtest.Error(shm.RawArrayAt[uint64](s, 0, -1)),
		"chars":            shmtest.Error(shm.CharArrayAt(s, 990, 11)),
		"no chars":         shmtest.Error(shm.CharArrayAt(s, 0, 0)),
		"struct":           shmtest.Error(shm.RawStructAt[[1001]byte](s, 0)),
		"struct, aligned":  shmtest.Error(shm.RawStructAt[struct{ A uint32 }](s, 2)),
	} {
		if !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	var typ *shm.TypeError
	if _, err := shm.RawStructAt[*int](s, 0); !errors.As(err, &typ) {
		t.Error(err)
	}
	// Foreign memory has no names, and a segment has no offsets.
	ours := open(t, shmtest.Name(t), nil)
	for what, err := range map[string]error{
		"New": shmtest.Error(shm.NewRawValue(s, "n", int8(1))), "WaitFor": shmtest.Error(s.WaitFor(t.Context(), "n")), "At": shmtest.Error(shm.RawValueAt[int8](ours, 0)),
	} {
		if !errors.Is(err, shm.ErrForeign) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for e := range s.Entries() {
		t.Error(e)
	}
	if _, ok := s.Lookup("n"); ok {
		t.Error("it has a name")
	}
	if err := s.Sync(); err != nil {
		t.Error(err)
	}
	// Another program makes the file shorter. What is gone cannot be attached to.
	if err := os.Truncate(path, 10); err != nil {
		t.Fatal(err)
	}
	if _, err := shm.RawValueAt[uint8](s, 10); !errors.Is(err, fs.ErrInvalid) {
		t.Error(err)
	}
	if err := s.Sync(); !errors.Is(err, shm.ErrFormat) {
		t.Errorf("Sync of what is gone: %v", err)
	}
	shmtest.Must(shm.RawValueAt[uint8](s, 9))(t)
	shmtest.WriteFile(t, path+"2", nil)
	if _, err := shm.Open(path+"2", &shm.Options{Foreign: true}); !errors.Is(err, shm.ErrFormat) {
		t.Errorf("an empty file: %v", err)
	}
	ro := open(t, path, &shm.Options{Foreign: true, ReadOnly: true})
	if got := shmtest.Must(shm.RawValueAt[uint8](ro, 9))(t).Get(); got != 9 {
		t.Error(got)
	}
}

// TestForeignBounds compares the bounds checks with arithmetic that cannot overflow.
func TestForeignBounds(t *testing.T) {
	const size = 1000
	path := filepath.Join(t.TempDir(), "foreign")
	shmtest.WriteFile(t, path, make([]byte, size))
	s := open(t, path, &shm.Options{Foreign: true})
	numbers := []int64{math.MinInt64, math.MaxInt64, math.MinInt32, math.MaxInt32, math.MaxInt64/8 + 1, math.MaxInt32/8 + 1, 1 << 61, 1 << 29}
	for _, edge := range []int64{0, size / 16, size / 8, size / 2, size} {
		for i := edge - 9; i <= edge+9; i++ {
			numbers = append(numbers, i)
		}
	}
	inside := 0
	for _, off := range numbers {
		for _, n := range numbers {
			if int64(int(n)) != n { // on 32 bits
				continue
			}
			for _, c := range []struct {
				elem, align int64
				at          func() error
			}{
				{1, 1, func() error { return shmtest.Error(shm.CharArrayAt(s, off, int(n))) }},
				{2, 2, func() error { return shmtest.Error(shm.RawArrayAt[uint16](s, off, int(n))) }},
				{8, int64(mem.Align[float64]()), func() error { return shmtest.Error(shm.RawArrayAt[float64](s, off, int(n))) }},
				{16, int64(mem.Align[complex128]()), func() error { return shmtest.Error(shm.RawArrayAt[complex128](s, off, int(n))) }},
			} {
				end := new(big.Int).Mul(big.NewInt(n), big.NewInt(c.elem))
				end.Add(end, big.NewInt(off))
				fits := n > 0 && off >= 0 && off%c.align == 0 && end.Cmp(big.NewInt(size)) <= 0
				if err := c.at(); (err == nil) != fits || err != nil && !errors.Is(err, fs.ErrInvalid) {
					t.Fatalf("%d elements of %d bytes at %d: %v", n, c.elem, off, err)
				}
				if fits {
					inside++
				}
			}
		}
	}
	if inside == 0 {
		t.Error("nothing is inside")
	}
}
