package mem_test

import (
	"math"
	"reflect"
	"testing"
	"unsafe"

	"example.org/shm/internal/mem"
)

func addressOf(r *mem.Region) uintptr {
	// SAFETY: the address is only looked at.
	return uintptr(unsafe.Pointer(unsafe.SliceData(r.Bytes)))
}

type (
	myInt8  int8
	myFloat float64
)

func TestWords(t *testing.T) {
	testWord[int8](t, -1, 1, math.MinInt8)
	testWord[uint8](t, 255, 1)
	testWord[int16](t, -1, 0x0102, math.MinInt16)
	testWord[uint16](t, 0xffff, 0x0102)
	testWord[int32](t, -1, 0x01020304, math.MinInt32)
	testWord[uint32](t, 0xffffffff, 0x01020304)
	testWord[int64](t, -1, 0x0102030405060708, math.MinInt64)
	testWord[uint64](t, 1<<64-1, 0x0102030405060708)
	testWord[float32](t, 1.5, float32(math.Inf(-1)), float32(math.Copysign(0, -1)))
	testWord[float64](t, 1.5, math.Inf(1), math.Copysign(0, -1))
	testWord[complex64](t, 1.5+2.5i, complex(float32(math.Inf(1)), -1))
	testWord[myInt8](t, -5)
	testWord[myFloat](t, 2.25)
}

// testWord stores values at each place of a line, the last one of the region too,
// and looks at the bytes around them.
func testWord[T mem.Word](t *testing.T, values ...T) {
	t.Helper()
	r := pages(t, 1)
	size := int64(mem.Size[T]())
	if want := reflect.TypeFor[T](); size != int64(want.Size()) || int64(mem.Align[T]()) != int64(want.Align()) {
		t.Errorf("%v: size %d, alignment %d", want, size, mem.Align[T]())
	}
	for i := range r.Bytes {
		r.Bytes[i] = 0xa5
	}
	var places []int64
	for off := int64(0); off < 64; off += size {
		places = append(places, off)
	}
	for _, off := range append(places, int64(len(r.Bytes))-size) {
		p := mem.At[T](r, off)
		for _, v := range values {
			mem.Store(p, v)
			if got := mem.Load(p); got != v || *p != v || mem.Bits(got) != mem.Bits(v) {
				t.Errorf("%T at %d: %v, %v, want %v", v, off, got, *p, v)
			}
			if string(mem.BytesOf(&v)) != string(r.Bytes[off:off+size]) {
				t.Errorf("%T at %d: %x", v, off, r.Bytes[off:off+size])
			}
			for i, b := range r.Bytes {
				if inside := int64(i) >= off && int64(i) < off+size; !inside && b != 0xa5 {
					t.Fatalf("%T at %d: byte %d has become %#x", v, off, i, b)
				}
			}
		}
		if !mem.SelfAligned(p) {
			t.Errorf("%T at %d is not aligned", *p, off)
		}
		for i := range mem.BytesOf(p) {
			mem.BytesOf(p)[i] = 0xa5
		}
	}
}

func TestSelfAligned(t *testing.T) {
	r := pages(t, 1)
	// complex64 is aligned to 4 bytes.
	if mem.SelfAligned(mem.At[complex64](r, 4)) || !mem.SelfAligned(mem.At[complex64](r, 8)) || !mem.SelfAligned(mem.At[int8](r, 1)) {
		t.Fatal("it is not the alignment to the size")
	}
}

// TestBits: the bits of a NaN equal themselves, and zeros differ by their sign.
func TestBits(t *testing.T) {
	nan := math.Float64frombits(0x7ff8_0000_0000_0123)
	if mem.Bits(nan) != 0x7ff8_0000_0000_0123 || mem.Bits(0.0) == mem.Bits(math.Copysign(0, -1)) {
		t.Error("float64")
	}
	if mem.Bits(float32(1)) != 0x3f80_0000 || mem.Bits(int16(-1)) != 0xffff || mem.Bits(int8(-2)) != 0xfe || mem.Bits(uint64(1<<63)) != 1<<63 {
		t.Error("others")
	}
}

func TestWord32AndWord64(t *testing.T) {
	r := pages(t, 1)
	a, b := mem.At[int32](r, 4), mem.At[int64](r, 8)
	*mem.Word32(a), *mem.Word64(b) = 0xffff_fffe, 1<<63
	if *a != -2 || *b != math.MinInt64 {
		t.Fatalf("%d, %d", *a, *b)
	}
}
