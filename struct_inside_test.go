//go:build linux

package shm_test

import (
	"testing"

	"example.org/shm"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/shmtest"
)

// Versions of a type whose last field is a struct that grows, first into its padding.
type (
	tail1 struct {
		A int64
		B int8
	}
	tail2 struct {
		A    int64
		B, C int8
	}
	tail3 struct {
		A    int64
		B, C int8
		D    [2]int64
	}
	inside1 struct {
		N int64
		T struct{ In tail1 }
	}
	inside2 struct {
		N int64
		T struct{ In tail2 }
	}
	inside3 struct {
		N int64
		T struct {
			In tail3
			E  int8
		}
		F int64
	}
)

// Writers of each version keep the fields that they do not know, also where these are in
// what the shorter type takes for padding of the struct inside.
func TestStructGrowsInside(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	dirty := func() (x inside1) { // its padding too, as on a stack
		b := mem.BytesOf(&x)
		for i := range b {
			b[i] = 0xff
		}
		return x
	}()
	v1 := shmtest.Must(shm.NewStruct(s, "g", dirty))(t)
	v2 := shmtest.Must(shm.NewStruct(s, "g", inside2{}))(t)
	if got := v2.Load().T.In; got != (tail2{-1, -1, 0}) {
		t.Fatalf("%+v", got)
	}
	v2.Update(func(x *inside2) { x.T.In.C = 2 })
	v1.Store(dirty)
	if got := v2.Load().T.In; got != (tail2{-1, -1, 2}) {
		t.Fatalf("after a Store of the first version: %+v", got)
	}
	v3 := shmtest.Must(shm.NewStruct(s, "g", inside3{}))(t)
	want := v3.Load()
	if want.T.In != (tail3{A: -1, B: -1, C: 2}) || want.T.E != 0 || want.F != 0 {
		t.Fatalf("%+v", want)
	}
	v3.Update(func(x *inside3) { x.T.In.D, x.T.E, x.F = [2]int64{3, 4}, 5, 6; want = *x })
	for round := range int8(3) { // into each slot
		v1.Update(func(x *inside1) { x.T.In.B = round })
		v1.Store(v1.Load())
		v2.Update(func(x *inside2) { x.T.In.C++ })
		want.T.In.B, want.T.In.C = round, want.T.In.C+1
		if got := v3.Load(); got != want {
			t.Fatalf("round %d: %+v, want %+v", round, got, want)
		}
	}
	if e, ok := s.Lookup("g"); !ok || len(e.Layout.Fields) != 3 || growths(t, s) != 2 {
		t.Errorf("%+v, %v, %d growths", e, ok, growths(t, s))
	}
	type elsewhere struct {
		N int64
		T struct {
			In tail2
			E  int32
		}
	}
	if _, err := shm.NewStruct(s, "g", elsewhere{}); err == nil {
		t.Error("a type with another field behind it attaches")
	}
}
