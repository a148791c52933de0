package shm_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

func TestAccessString(t *testing.T) {
	want := "access(0) raw atomic locked published access(5)"
	var got []string
	for a := shm.Access(0); a <= 5; a++ {
		got = append(got, a.String())
	}
	if s := strings.Join(got, " "); s != want {
		t.Errorf("%s, want %s", s, want)
	}
}

func TestTypeError(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{shmtest.Error(shm.LayoutOf[string]()), "shm: string: string points into the memory of one process; use [N]byte with the tag option char, or an shm.String"},
		{shmtest.Error(shm.LayoutOf[time.Time]()), "shm: time.Time.loc: *time.Location points into the memory of one process; use the value itself, or its index in an array"},
		{shmtest.Error(shm.LayoutOf[[2]time.Time]()), "shm: [2]time.Time[].loc: *time.Location points into the memory of one process; use the value itself, or its index in an array"},
		{shmtest.Error(shm.LayoutOf[struct{ A, B [2]int }]()), "shm: A[]: int differs in size between machines; use int32 or int64"},
		{shmtest.Error(shm.LayoutOf[struct{}]()), "shm: struct {}: struct {} has no size; add a field, or remove it"},
		{&shm.TypeError{Field: "A", Reason: "why"}, "shm: A: why"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestLayoutError(t *testing.T) {
	type v1 struct {
		N     int32
		Pos   struct{ X, Y float64 }
		Label [16]byte `shm:",char"`
	}
	type v2 struct {
		N     int32
		Pos   struct{ X, Z float32 }
		Label [16]byte `shm:",char"`
	}
	order := map[bool]string{true: "<", false: ">"}[binary.NativeEndian.Uint16([]byte{1, 0}) == 1]
	chars := shmtest.Must(shm.ParseLayout(order + "c"))(t)
	layoutOf := func(l shm.Layout, err error) shm.Layout { return shmtest.Must(l, err)(t) }
	const advice = ": use another name, or remove the segment once its programs have ended"
	tests := []struct {
		err  shm.LayoutError
		want string
	}{
		{
			shm.LayoutError{Segment: "/dev/shm/board", Name: "temp", Have: layoutOf(shm.LayoutOf[float64]()), HaveLen: 4, HaveAccess: shm.AccessRaw,
				Want: layoutOf(shm.LayoutOf[int32]()), WantAccess: shm.AccessLocked, Pid: 77, Program: "sensor"},
			`shm: value "temp" in /dev/shm/board: is a RawArray[float64] of 4 elements made by "sensor" (pid 77); wanted a Value[int32]` + advice,
		}, {
			shm.LayoutError{Name: "host", Have: chars, HaveLen: 64, HaveAccess: shm.AccessRaw,
				Want: chars, WantLen: 1, WantAccess: shm.AccessPublished},
			`shm: value "host": is a CharArray of 64 bytes; wanted a String of 1 byte` + advice,
		}, {
			shm.LayoutError{Name: "lock", HaveAccess: shm.AccessLocked, Want: layoutOf(shm.LayoutOf[[2][3]int8]()), WantLen: 5, WantAccess: shm.AccessLocked},
			`shm: value "lock": is a Mutex; wanted an Array[[2][3]int8] of 5 elements` + advice,
		}, {
			shm.LayoutError{Name: "id", Have: layoutOf(shm.LayoutOf[[16]byte]()), HaveAccess: shm.AccessRaw,
				Want: layoutOf(shm.LayoutOf[byte]()), WantLen: 16, WantAccess: shm.AccessRaw},
			`shm: value "id": is a RawStruct[[16]uint8]; wanted a RawArray[uint8] of 16 elements` + advice,
		}, {
			shm.LayoutError{Name: "\x1b[2J", Have: layoutOf(shm.LayoutOf[bool]()), HaveAccess: shm.AccessPublished,
				Want: layoutOf(shm.LayoutOf[uint32]()), WantAccess: shm.AccessAtomic, Pid: 1, Program: "\x07"},
			`shm: value "\x1b[2J": is a Struct[bool] made by "\a" (pid 1); wanted an Atomic[uint32]` + advice,
		},
	}
	if reflect.TypeFor[int64]().Align() == 8 {
		tests = append(tests, struct {
			err  shm.LayoutError
			want string
		}{
			shm.LayoutError{Name: "state", Have: layoutOf(shm.LayoutOf[v1]()), HaveAccess: shm.AccessPublished,
				Want: layoutOf(shm.LayoutOf[v2]()), WantAccess: shm.AccessPublished, Pid: 9, Program: "old", Reason: "a struct may only have fields appended"},
			`shm: value "state": is a Struct[struct{...}] of 40 bytes made by "old" (pid 9); wanted a Struct[struct{...}] of 28 bytes (a struct may only have fields appended)` + advice + `
  field "Pos": have struct{...} at 8, want struct{...} at 4
  field "Pos.X": have float64 at 8, want float32 at 4
  field "Pos.Y": have float64 at 16, want nothing
  field "Pos.Z": have nothing, want float32 at 8
  field "Label": have char[16] at 24, want char[16] at 12`,
		})
	}
	for _, test := range tests {
		if got := test.err.Error(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
	wrapped := fmt.Errorf("open: %w", &tests[0].err)
	if found, ok := errors.AsType[*shm.LayoutError](wrapped); !ok || found.Name != "temp" {
		t.Errorf("errors.As found %v", found)
	}
}
