//go:build linux

package shm

import (
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"
	"unsafe"
)

// checkNumber stores and reads numbers of one type as a value and in an array,
// between two attachments that are mapped apart.
func checkNumber[T Numeric](t *testing.T, numbers ...T) {
	t.Helper()
	typ := reflect.TypeFor[T]().String()
	name := testName(t)
	s, ro := open(t, name, nil), (*Segment)(nil)
	v := must(NewRawValue(s, "v", numbers[0]))(t)
	a := must(NewRawArray[T](s, "a", len(numbers)+2))(t)
	ro = open(t, name, &Options{ReadOnly: true})
	seenV, seenA := must(NewRawValue(ro, "v", numbers[1]))(t), must(NewRawArray[T](ro, "a", 0))(t)
	if got := seenV.Get(); got != numbers[0] {
		t.Errorf("%s: init became %v", typ, got)
	}
	for i, x := range numbers {
		v.Set(x)
		a.Set(i+1, x)
		if v.Get() != x || *v.Ptr() != x || seenV.Get() != x || seenA.Get(i+1) != x || seenA.Slice()[i+1] != x {
			t.Errorf("%s: %v became %v and %v", typ, x, v.Get(), seenA.Get(i+1))
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
	if p := uintptr(unsafe.Pointer(v.Ptr())); p%line != 0 {
		t.Errorf("%s: at %#x, not on a line of its own", typ, p)
	}
	for _, i := range []int{-1, a.Len(), math.MinInt} {
		if panicOf(func() { a.Get(i) }) == nil || panicOf(func() { a.Set(i, zero) }) == nil {
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

func TestAllEndsWhenTold(t *testing.T) {
	a := must(NewRawArray[int8](open(t, testName(t), nil), "a", 10))(t)
	n := 0
	for range a.All() {
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Fatal(n)
	}
}

func TestRawStruct(t *testing.T) {
	type inner struct {
		Yes bool
		No  [2]bool
	}
	type record struct {
		A  int8
		In [2]inner
		B  complex128
		C  [4]byte `shm:"c,char"`
		_  [3]byte
		D  bool
	}
	name := testName(t)
	s := open(t, name, nil)
	want := record{A: -1, In: [2]inner{{true, [2]bool{false, true}}, {No: [2]bool{true, false}}}, B: 1i, C: [4]byte{'a'}, D: true}
	v := must(NewRawStruct(s, "v", want))(t)
	ro := must(NewRawStruct(open(t, name, &Options{ReadOnly: true}), "v", record{}))(t)
	if v.Get() != want || ro.Get() != want {
		t.Fatalf("%+v", v.Get())
	}
	want.D, want.A = false, 5
	v.Set(want)
	v.Ptr().A++
	if want.A++; ro.Get() != want {
		t.Fatalf("%+v", ro.Get())
	}
	// A broken peer writes bools that are none.
	memory := unsafe.Slice((*byte)(unsafe.Pointer(v.Ptr())), unsafe.Sizeof(want))
	for i := range memory {
		memory[i] = 77
	}
	got := ro.Get()
	for i, b := range []bool{got.In[0].Yes, got.In[1].No[1], got.D} {
		if *(*byte)(unsafe.Pointer(&b)) != 1 {
			t.Errorf("bool %d is %d", i, *(*byte)(unsafe.Pointer(&b)))
		}
	}
	if got.A != 77 || got.C != [4]byte{77, 77, 77, 77} || memory[1] != 77 {
		t.Errorf("more than bools was changed: %+v", got)
	}
	one := must(NewRawStruct(s, "bool", true))(t)
	*(*byte)(unsafe.Pointer(one.Ptr())) = 2
	if b := one.Get(); *(*byte)(unsafe.Pointer(&b)) != 1 {
		t.Error("a lone bool is not put right")
	}
	if id := must(NewRawStruct(s, "uuid", [16]byte{1, 2, 3}))(t); id.Get() != [16]byte{1, 2, 3} {
		t.Error(id.Get())
	}
}

func TestRawArrayIsOnePieceOfMemory(t *testing.T) {
	s := open(t, testName(t), nil)
	var all []RawArray[uint16]
	for i := range 50 {
		all = append(all, must(NewRawArray[uint16](s, fmt.Sprint(i), i+1))(t))
	}
	for i, a := range all {
		for j := range a.Slice() {
			a.Slice()[j] = uint16(i + 1)
		}
	}
	for i, a := range all {
		for j, x := range a.All() {
			if x != uint16(i+1) {
				t.Fatalf("array %d[%d] is %d: arrays overlap", i, j, x)
			}
		}
	}
}
