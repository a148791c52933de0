package shm_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/netip"
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
		{shmtest.Error(shm.LayoutOf[time.Time]()), "shm: time.Time: time.Time points into the memory of one process; use an int64 with its UnixNano"},
		{shmtest.Error(shm.LayoutOf[[2]time.Time]()), "shm: [2]time.Time[]: time.Time points into the memory of one process; use an int64 with its UnixNano"},
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

// Characters are a C string only if the directory says so. Another program may make an
// array of them.
func TestArrayOfCharacters(t *testing.T) {
	s := shmtest.Opened(shm.Anonymous(nil))(t)
	order := map[bool]string{true: "<", false: ">"}[binary.NativeEndian.Uint16([]byte{1, 0}) == 1]
	e := shmtest.Must(s.Make(shm.Description{Name: "id", Type: "RawArray", Layout: order + "c", Len: 8}))(t)
	if d := shmtest.Must(e.Description())(t); e.Type() != "RawArray[char]" || d.Type != "RawArray" {
		t.Errorf("it is a %s, and described as a %s", e.Type(), d.Type)
	}
	if _, err := shm.NewCharArray(s, "id", 8); err == nil || !strings.Contains(err.Error(), "is a RawArray[char] of 8 elements") || !strings.Contains(err.Error(), "wanted a CharArray of 8 bytes") {
		t.Errorf("as a C string: %v", err)
	}
	shmtest.Must(shm.NewCharArray(s, "text", 8))(t)
	if e, _ := s.Lookup("text"); e.Type() != "CharArray" {
		t.Errorf("a C string is a %s", e.Type())
	}
}

// An error says what to do, and its text has the prefix once.
func TestErrorsAdvise(t *testing.T) {
	s := shmtest.Opened(shm.Anonymous(nil))(t)
	type inner1 struct{ A, B int64 }
	type inner2 struct{ A, B, C int64 }
	shmtest.Must(shm.NewStruct(s, "outer", struct {
		In inner1
		N  int32
	}{}))(t)
	shmtest.Must(shm.NewStruct(s, "rows", struct{ Rows [10]inner1 }{}))(t)
	shmtest.Must(shm.NewStruct(s, "full", inner1{}))(t)
	closed := shmtest.Must(shm.Anonymous(nil))(t)
	n := shmtest.Must(shm.NewValue(closed, "n", int64(0)))(t)
	closed.Close()
	for what, c := range map[string]struct {
		err    error
		advice string
	}{
		"time":          {shmtest.Error(shm.LayoutOf[struct{ At time.Time }]()), "At: time.Time points into the memory of one process; use an int64 with its UnixNano"},
		"text":          {shmtest.Error(shm.LayoutOf[struct{ S string }]()), "use [N]byte"},
		"slice":         {shmtest.Error(shm.LayoutOf[struct{ B []byte }]()), "use an array"},
		"channel":       {shmtest.Error(shm.LayoutOf[struct{ C chan int }]()), "use an shm.Value"},
		"function":      {shmtest.Error(shm.LayoutOf[struct{ F func() }]()), "use a number or a text"},
		"map":           {shmtest.Error(shm.LayoutOf[struct{ M map[int]int }]()), "use an array of structs"},
		"interface":     {shmtest.Error(shm.LayoutOf[struct{ E error }]()), "such as a number for each case"},
		"address":       {shmtest.Error(shm.LayoutOf[struct{ A netip.Addr }]()), "As16"},
		"big":           {shmtest.Error(shm.LayoutOf[struct{ N big.Int }]()), "use an array of bytes"},
		"handle":        {shmtest.Error(shm.LayoutOf[struct{ N shm.Atomic[int64] }]()), "N: shm.Atomic[int64] is a handle of one process, not data; give it a name of its own, and fill a struct of handles with shm.Bind"},
		"mutex":         {shmtest.Error(shm.LayoutOf[struct{ Mu shm.Mutex }]()), "fill a struct of handles"},
		"string handle": {shmtest.Error(shm.LayoutOf[struct{ S [3]shm.String }]()), "fill a struct of handles"},
		"length":        {shm.Bind(s, &struct{ V shm.String }{}), "field V: value \"V\": no length was given, and there is no such value"},
		"length in tag": {shm.Bind(s, &struct{ V shm.String }{}), "`shm:\"V,len=32\"`"},
		"handles":       {shm.Bind(s, &struct{ W [4]shm.Atomic[int64] }{}), "call the constructor for each element"},
		"mutexes":       {shm.Bind(s, &struct{ W []*shm.Mutex }{}), "use an shm.Mutexes"},
		"numbers":       {shm.Bind(s, &struct{ W [4]int64 }{}), "use an shm.Array[int64], or a RawArray, with len= in the tag"},
		"number":        {shm.Bind(s, &struct{ W int64 }{}), "use an shm.Value[int64] or an Atomic"},
		"a text":        {shm.Bind(s, &struct{ W string }{}), "use an shm.String"},
		"a struct":      {shm.Bind(s, &struct{ W inner1 }{}), "use an shm.Struct["},
		"a pointer":     {shm.Bind(s, &struct{ W *shm.String }{}), "use the shm.String itself"},
		"a mutex":       {shm.Bind(s, &struct{ W shm.Mutex }{}), "use a *shm.Mutex"},
		"nested struct": {shmtest.Error(shm.NewStruct(s, "outer", struct {
			In inner2
			N  int32
		}{})), "a struct inside it only if it is the last field; use elements of a spare field"},
		"rows":          {shmtest.Error(shm.NewStruct(s, "rows", struct{ Rows [10]inner2 }{})), "a struct inside it only if it is the last field; use elements of a spare field"},
		"no room":       {shmtest.Error(shm.NewStruct(s, "full", [64]int64{})), "a struct may only have fields appended"},
		"closed":        {shmtest.Error(shm.NewValue(closed, "n", int64(0))), `value "n": segment is closed`},
		"await":         {shmtest.Error(n.Await(t.Context(), func(int64) bool { return false })), `awaiting "n" in `},
		"bind, closed":  {shm.Bind(closed, &struct{ N shm.Value[int64] }{}), `field N: value "N": segment is closed`},
		"foreign":       {shmtest.Error(shm.RawValueAt[int64](s, 0)), "was not opened with Options.Foreign"},
		"name":          {shmtest.Error(shm.NewValue(s, strings.Repeat("x", 1000), int64(0))), "value \"xxx"},
		"parse":         {shmtest.Must(found(s, "full"))(t).Parse("{A: x}"), `value "full": `},
		"parse, closed": {shmtest.Must(found(s, "full"))(t).Parse("{Z: 1}"), `no field "Z"`},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.advice) {
			t.Errorf("%s: %v\nwant %s", what, c.err, c.advice)
		} else if strings.Count(c.err.Error(), "shm: ") != 1 {
			t.Errorf("%s: %v: the prefix is there %d times", what, c.err, strings.Count(c.err.Error(), "shm: "))
		}
	}
}

func found(s *shm.Segment, name string) (shm.Entry, error) {
	if e, ok := s.Lookup(name); ok {
		return e, nil
	}
	return shm.Entry{}, fs.ErrNotExist
}
