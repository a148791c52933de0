package mem_test

import (
	"math"
	"strings"
	"testing"

	"example.org/shm/internal/mem"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

func TestAtAndSlice(t *testing.T) {
	r := pages(t, 2)
	*mem.At[uint32](r, 8) = 0x01020304
	all := mem.Slice[uint32](r, 0, int(2*sys.PageSize/4))
	if len(all) != cap(all) || int64(len(all)) != sys.PageSize/2 || all[2] != 0x01020304 || all[1] != 0 || all[3] != 0 {
		t.Fatalf("%d words: %v", len(all), all[:4])
	}
	all[len(all)-1] = 7
	if got := *mem.At[uint32](r, 2*sys.PageSize-4); got != 7 {
		t.Fatalf("the last word is %d", got)
	}
	if n := len(mem.Slice[int64](r, 2*sys.PageSize, 0)); n != 0 {
		t.Fatalf("%d words at the end", n)
	}
}

// TestBounds: what is not inside, or not aligned, is a panic with the numbers.
func TestBounds(t *testing.T) {
	r := pages(t, 1)
	end := sys.PageSize
	at := func(off int64) func() { return func() { mem.At[uint64](r, off) } }
	slice := func(off int64, n int) func() { return func() { mem.Slice[uint64](r, off, n) } }
	for what, c := range map[string]struct {
		f  func()
		ok bool
	}{
		"first": {at(0), true}, "last": {at(end - 8), true}, "all": {slice(0, int(end/8)), true}, "none": {slice(end, 0), true},
		"behind the end": {at(end), false}, "across the end": {at(end - 4), false}, "before": {at(-8), false},
		"far": {at(math.MaxInt64 &^ 7), false}, "far before": {at(math.MinInt64), false}, "unaligned": {at(3), false},
		"one too many": {slice(0, int(end/8)+1), false}, "one too many at the end": {slice(end-8, 2), false}, "negative": {slice(0, -1), false},
		// Times 8 these are 0, 8 and -8.
		"overflow to nothing": {slice(0, math.MinInt), false}, "overflow": {slice(0, math.MinInt/4+1), false}, "very many": {slice(0, math.MaxInt), false},
		"unaligned slice": {slice(4, 1), false}, "unaligned nothing": {slice(1, 0), false}, "nothing behind the end": {slice(end+8, 0), false},
	} {
		p := shmtest.Panic(c.f)
		if text, ok := p.(string); (p == nil) != c.ok || !c.ok && (!ok || !strings.Contains(text, r.Path)) {
			t.Errorf("%s: %v", what, p)
		}
	}
}

func TestContains(t *testing.T) {
	r := pages(t, 1)
	start := addressOf(r)
	for off, want := range map[uintptr]bool{0: true, 1: true, uintptr(sys.PageSize) - 1: true, uintptr(sys.PageSize): false, ^uintptr(0): false, -start: false} {
		if got := r.Contains(start + off); got != want || r.Offset(start+off) != off {
			t.Errorf("%#x: %v at %#x", off, got, r.Offset(start+off))
		}
	}
}
