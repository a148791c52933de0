package mem_test

import (
	"bytes"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"example.org/shm/internal/mem"
)

type flags struct {
	N  int32
	On bool
	A  [3]struct {
		X   int16
		Set [2]bool
	}
	None [4]struct{ Y int8 }
	Last [1]bool
}

func TestNormalise(t *testing.T) {
	for _, fill := range []byte{0, 1, 2, 77, 255} {
		var x flags
		b := mem.BytesOf(&x)
		for i := range b {
			b[i] = fill
		}
		before := bytes.Clone(b)
		mem.Normalise(&x, mem.Bools[flags]())
		bools := 0
		for _, r := range [][]byte{
			mem.BytesOf(&x.On), mem.BytesOf(&x.A[0].Set), mem.BytesOf(&x.A[1].Set), mem.BytesOf(&x.A[2].Set), mem.BytesOf(&x.Last),
		} {
			for i := range r {
				if r[i] != min(fill, 1) {
					t.Errorf("a bool of %d has become %d", fill, r[i])
				}
				r[i] = fill
				bools++
			}
		}
		if !bytes.Equal(b, before) || bools != 8 {
			t.Errorf("another byte than those of the bools has changed: %v", b)
		}
	}
}

func TestBools(t *testing.T) {
	if none := mem.Bools[struct {
		A int64
		B [3]float32
	}](); none != nil {
		t.Errorf("a type without bools: %v", none)
	}
	if n := len(mem.Bools[[1000]bool]()); n != 1 {
		t.Errorf("bools in a row are %d ranges", n)
	}
	first, again := mem.Bools[flags](), mem.Bools[flags]()
	if len(first) != 5 || &first[0] != &again[0] {
		t.Errorf("%v, then %v", first, again)
	}
	if n := len(mem.Bools[bool]()); n != 1 {
		t.Errorf("a bool has %d ranges", n)
	}
}

func TestCString(t *testing.T) {
	for in, want := range map[string]string{"": "", "\x00": "", "abc": "abc", "abc\x00": "abc", "a\x00b\x00": "a", "\x00abc": ""} {
		if got := mem.CString([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestCopies: of every length, from a slot that is padded to a line.
func TestCopies(t *testing.T) {
	r := pages(t, 1)
	slot := mem.Slice[byte](r, 64, 128)
	for i := range slot {
		slot[i] = byte(i + 1)
	}
	for n := range 128 {
		for what, copyTo := range map[string]func(dst, src []byte){"CopyBytes": mem.CopyBytes, "LoadWords": mem.LoadWords} {
			dst := make([]byte, 130)
			copyTo(dst[:n:n], slot[:n])
			if !bytes.Equal(dst[:n], slot[:n]) || !bytes.Equal(dst[n:], make([]byte, 130-n)) {
				t.Fatalf("%s of %d bytes: %v", what, n, dst)
			}
		}
		if got := mem.LoadString(slot[:n]); got != string(slot[:n]) {
			t.Fatalf("LoadString of %d bytes: %q", n, got)
		}
	}
	slot[5] = 0
	if got := mem.LoadString(slot); got != "\x01\x02\x03\x04\x05" {
		t.Fatalf("%q", got)
	}
}

// TestStoreRelease: whoever loads the counter sees what was written before it.
func TestStoreRelease(t *testing.T) {
	r := pages(t, 1)
	count, slots := mem.At[atomic.Uint64](r, 0), [2][]byte{mem.Slice[byte](r, 64, 512), mem.Slice[byte](r, 1024, 512)}
	const rounds = 20_000
	done := make(chan bool)
	defer func() { <-done }() // Then the memory is unmapped.
	go func() {
		defer close(done)
		for n := uint64(1); n <= rounds; n++ {
			text := strings.Repeat(string(rune('a'+n%26)), 512)
			copy(slots[n&1], text)
			mem.StoreRelease(count, n)
			if !mem.StoresInOrder || n%64 == 0 {
				runtime.Gosched()
			}
		}
	}()
	dst := make([]byte, 512)
	for n := uint64(0); n < rounds; {
		n = count.Load()
		mem.CopyBytes(dst, slots[n&1])
		if count.Load() != n || n == 0 { // The writer may have begun with this slot.
			continue
		}
		if want := byte('a' + n%26); dst[0] != want || bytes.Count(dst, dst[:1]) != len(dst) {
			t.Fatalf("commit %d: %q, want all %q", n, dst, want)
		}
	}
}
