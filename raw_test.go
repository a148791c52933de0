//go:build linux

package shm_test

import (
	"math"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
)

// celsius is a number type of the user.
type celsius float32

// checkNumber stores and reads numbers of one type, as a value and in an array,
// through two attachments that are mapped apart.
func checkNumber[T shm.Numeric](t *testing.T, numbers ...T) {
	t.Helper()
	typ := reflect.TypeFor[T]().String()
	name := shmtest.Name(t)
	s := open(t, name, nil)
	v := shmtest.Must(shm.NewRawValue(s, "v", numbers[0]))(t)
	a := shmtest.Must(shm.NewRawArray[T](s, "a", len(numbers)+2))(t)
	ro := open(t, name, &shm.Options{ReadOnly: true})
	seenV, seenA := shmtest.Must(shm.NewRawValue(ro, "v", numbers[1]))(t), shmtest.Must(shm.NewRawArray[T](ro, "a", 0))(t)
	if got := seenV.Get(); got != numbers[0] {
		t.Errorf("%s: init is %v", typ, got)
	}
	for i, x := range numbers {
		v.Set(x)
		a.Set(i+1, x)
		if v.Get() != x || *v.Ptr() != x || seenV.Get() != x || seenA.Get(i+1) != x || seenA.Slice()[i+1] != x {
			t.Errorf("%s: %v is %v, and %v in the array", typ, x, v.Get(), seenA.Get(i+1))
		}
	}
	var zero T
	for i, x := range seenA.All() {
		want := zero
		if i > 0 && i <= len(numbers) {
			want = numbers[i-1]
		}
		if x != want {
			t.Errorf("%s: [%d] is %v, want %v", typ, i, x, want)
		}
	}
	if a.Len() != len(numbers)+2 || cap(a.Slice()) != a.Len() {
		t.Errorf("%s: %d elements of %d", typ, a.Len(), cap(a.Slice()))
	}
	if p := uintptr(unsafe.Pointer(v.Ptr())); p%format.Line != 0 {
		t.Errorf("%s: at %#x, not on a line of its own", typ, p)
	}
	for _, i := range []int{-1, a.Len(), math.MinInt} {
		if shmtest.Panic(func() { a.Get(i) }) == nil || shmtest.Panic(func() { a.Set(i, zero) }) == nil {
			t.Errorf("%s: [%d] of %d did not panic", typ, i, a.Len())
		}
	}
}

func TestNumbersOfEachType(t *testing.T) {
	checkNumber[int8](t, 1, -1, math.MinInt8, math.MaxInt8)
	checkNumber[uint8](t, 1, math.MaxUint8)
	checkNumber[int16](t, 1, -1, math.MinInt16, math.MaxInt16)
	checkNumber[uint16](t, 1, math.MaxUint16)
	checkNumber[int32](t, 1, -1, math.MinInt32, math.MaxInt32)
	checkNumber[uint32](t, 1, math.MaxUint32)
	checkNumber[int64](t, 1, -1, math.MinInt64, math.MaxInt64)
	checkNumber[uint64](t, 1, math.MaxUint64)
	checkNumber[float32](t, 1, -0.5, math.MaxFloat32, float32(math.Inf(1)))
	checkNumber[float64](t, 1, -0.5, math.MaxFloat64, math.Inf(-1))
	checkNumber[complex64](t, 1, 2-3i)
	checkNumber[complex128](t, 1, 2-3i)
	checkNumber[time.Duration](t, time.Second, -1)
	checkNumber[celsius](t, 36.6, -273.15)
	checkNumber[rune](t, 'ü', '日')
}
