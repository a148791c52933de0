//go:build linux

package shm

import (
	"errors"
	"io/fs"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"testing"
)

func TestForeignMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "foreign")
	b := make([]byte, 1000)
	for i := range b {
		b[i] = byte(i)
	}
	lay(t, path, b)
	s := open(t, path, &Options{Foreign: true})
	if s.Size() != 1000 {
		t.Errorf("size %d", s.Size())
	}
	v := must(RawValueAt[uint32](s, 4))(t)
	if byteOrder == "<" && v.Get() != 0x07060504 {
		t.Errorf("%#x", v.Get())
	}
	v.Set(0)
	if got := must(os.ReadFile(path))(t); got[3] != 3 || got[4] != 0 || got[7] != 0 || got[8] != 8 {
		t.Errorf("%v", got[:10])
	}
	if a := must(RawArrayAt[uint8](s, 999, 1))(t); a.Get(0) != 999%256 {
		t.Error(a.Get(0))
	}
	if a := must(RawArrayAt[uint64](s, 0, 125))(t); a.Len() != 125 {
		t.Error(a.Len())
	}
	if c := must(CharArrayAt(s, 1, 20))(t); c.Value() != "\x01\x02\x03" {
		t.Errorf("%q", c.Value())
	}
	if r := must(RawStructAt[struct{ A, B uint8 }](s, 998))(t); r.Get().B != 999%256 {
		t.Error(r.Get())
	}
	for what, err := range map[string]error{
		"behind the end":   second(RawValueAt[uint8](s, 1000)),
		"over the end":     second(RawValueAt[uint64](s, 996)),
		"before the start": second(RawValueAt[uint8](s, -1)),
		"far behind":       second(RawValueAt[uint8](s, math.MaxInt64)),
		"far before":       second(RawValueAt[uint8](s, math.MinInt64)),
		"not aligned":      second(RawValueAt[uint32](s, 2)),
		"too many":         second(RawArrayAt[uint64](s, 0, 126)),
		"overflow":         second(RawArrayAt[uint64](s, 8, math.MaxInt/8+1)),
		"none":             second(RawArrayAt[uint64](s, 0, 0)),
		"fewer than none":  second(RawArrayAt[uint64](s, 0, -1)),
		"chars":            second(CharArrayAt(s, 990, 11)),
		"no chars":         second(CharArrayAt(s, 0, 0)),
		"struct":           second(RawStructAt[[1001]byte](s, 0)),
		"struct, aligned":  second(RawStructAt[struct{ A uint32 }](s, 2)),
	} {
		if !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	var typ *TypeError
	if _, err := RawStructAt[*int](s, 0); !errors.As(err, &typ) {
		t.Error(err)
	}
	// It has no names, and a segment has no offsets.
	ours := open(t, testName(t), nil)
	for what, err := range map[string]error{
		"New": second(NewRawValue(s, "n", int8(1))), "WaitFor": second(s.WaitFor(t.Context(), "n")), "At": second(RawValueAt[int8](ours, 0)),
	} {
		if !errors.Is(err, ErrForeign) {
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
	// Another program makes it shorter: what is gone is not handed out.
	if err := os.Truncate(path, 10); err != nil {
		t.Fatal(err)
	}
	if _, err := RawValueAt[uint8](s, 10); !errors.Is(err, fs.ErrInvalid) {
		t.Error(err)
	}
	must(RawValueAt[uint8](s, 9))(t)
	lay(t, path+"2", nil)
	if _, err := Open(path+"2", &Options{Foreign: true}); !errors.Is(err, ErrFormat) {
		t.Errorf("an empty file: %v", err)
	}
	ro := open(t, path, &Options{Foreign: true, ReadOnly: true})
	if got := must(RawValueAt[uint8](ro, 9))(t).Get(); got != 9 {
		t.Error(got)
	}
}

// TestForeignBounds compares what is inside with arithmetic that cannot
// overflow.
func TestForeignBounds(t *testing.T) {
	const size = 1000
	path := filepath.Join(t.TempDir(), "foreign")
	lay(t, path, make([]byte, size))
	s := open(t, path, &Options{Foreign: true})
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
				{1, 1, func() error { return second(CharArrayAt(s, off, int(n))) }},
				{2, 2, func() error { return second(RawArrayAt[uint16](s, off, int(n))) }},
				{8, int64(alignOf[float64]()), func() error { return second(RawArrayAt[float64](s, off, int(n))) }},
				{16, int64(alignOf[complex128]()), func() error { return second(RawArrayAt[complex128](s, off, int(n))) }},
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
