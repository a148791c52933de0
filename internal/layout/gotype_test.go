package layout

import (
	"errors"
	"reflect"
	"strings"
	"structs"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

type (
	xy    struct{ X, Y float64 }
	u8u16 struct {
		A uint8
		B uint16
	}
	celsius          float32
	uuid             [16]byte
	code4            [4]byte
	boxOf[T any]     struct{ V T }
	pairOf[T, U any] struct {
		V T
		W U
	}
)

func checkLayout[T any](t *testing.T, want string) {
	t.Helper()
	typ := reflect.TypeFor[T]()
	l, err := Of[T]()
	if err != nil {
		t.Errorf("%v: %v", typ, err)
		return
	}
	if want = nativeFormat(want); l.Format != want {
		t.Errorf("%v: format %q, want %q", typ, l.Format, want)
	}
	if l.Size != int(typ.Size()) || l.Align != typ.Align() {
		t.Errorf("%v: size %d, align %d; Go has %d, %d", typ, l.Size, l.Align, typ.Size(), typ.Align())
	}
	back, err := Parse(l.Format)
	if err != nil || !back.Equal(*l) || !reflect.DeepEqual(back, *l) {
		t.Errorf("%v: Parse(%q) = %#v, %v; want %#v", typ, l.Format, back, err, *l)
	}
}

// TestLayoutOf lists every kind of type that can be shared.
func TestLayoutOf(t *testing.T) {
	checkLayout[bool](t, "<?")
	checkLayout[int8](t, "<b")
	checkLayout[uint8](t, "<B")
	checkLayout[int16](t, "<h")
	checkLayout[uint16](t, "<H")
	checkLayout[int32](t, "<i")
	checkLayout[rune](t, "<i")
	checkLayout[uint32](t, "<I")
	checkLayout[int64](t, "<q")
	checkLayout[uint64](t, "<Q")
	checkLayout[float32](t, "<f")
	checkLayout[float64](t, "<d")
	checkLayout[complex64](t, "<Zf")
	checkLayout[complex128](t, "<Zd")
	checkLayout[time.Duration](t, "<q")
	checkLayout[celsius](t, "<f")
	checkLayout[[3]bool](t, "(3)<?")
	checkLayout[uuid](t, "(16)<B")
	checkLayout[[2][3]float64](t, "(2,3)<d")
	checkLayout[[2]uuid](t, "(2,16)<B")
	checkLayout[[2][2]complex64](t, "(2,2)<Zf")
	checkLayout[xy](t, "T{<d:X:<d:Y:}")
	checkLayout[[2][2]u8u16](t, "(2,2)T{<B:A:x<H:B:}")
	checkLayout[boxOf[u8u16]](t, "T{T{<B:A:x<H:B:}:V:}")
	checkLayout[struct {
		u8u16
		boxOf[int8]
		Größe, _b int16
	}](t, "T{T{<B:A:x<H:B:}:u8u16:T{<b:V:}:boxOf:x<h:Größe:<h:_b:}")
	checkLayout[struct {
		A byte  `json:"no" shm:"a"`
		B code4 `shm:",char"`
		C code4
		D [2][3]code4 `shm:"d-1.x,char"`
		E [2]boxOf[code4]
		F int32 `shm:""`
	}](t, "T{<B:a:(4)<c:B:(4)<B:C:(2,3,4)<c:d-1.x:(2)T{(4)<B:V:}:E:3x<i:F:}")
	checkLayout[struct{ F, G int8 }](t, "T{<b:F:<b:G:}")
	checkLayout[struct {
		F int8 `shm:"G"`
		G int8 `shm:"F"`
	}](t, "T{<b:G:<b:F:}")
	// Padding: implied, blank, or both.
	checkLayout[struct {
		A int32
		B int8
	}](t, "T{<i:A:<b:B:3x}")
	checkLayout[struct {
		_ byte
		A int8
		_ [2]byte
		B int32
		_ int32
	}](t, "T{x<b:A:2x<i:B:4x}")
	checkLayout[struct {
		A int16
		_ [3]byte
		B int16
	}](t, "T{<h:A:4x<h:B:}")
	checkLayout[struct{ _ [64]byte }](t, "T{64x}")
	checkLayout[struct {
		A int32
		_ u8u16
	}](t, "T{<i:A:4x}")
	checkLayout[struct {
		_ structs.HostLayout
		A int32
		B int8
	}](t, "T{<i:A:<b:B:3x}")
	if wideAlign {
		checkLayout[struct {
			A uint32
			B uint64
			C bool
		}](t, "T{<I:A:4x<Q:B:<?:C:7x}")
		checkLayout[struct {
			A int8
			B complex128
		}](t, "T{<b:A:7x<Zd:B:}")
	} else {
		checkLayout[struct {
			A uint32
			B uint64
			C bool
		}](t, "T{<I:A:<Q:B:<?:C:3x}")
		checkLayout[struct {
			A int8
			B complex128
		}](t, "T{<b:A:3x<Zd:B:}")
	}
}

func checkUnfit[T any](t *testing.T, field, reason string) {
	t.Helper()
	typ := reflect.TypeFor[T]()
	l, err := Of[T]()
	var unfit *Unfit
	if !errors.As(err, &unfit) {
		t.Errorf("%v: %#v, %v; want an Unfit", typ, l, err)
		return
	}
	if unfit.Type != typ || unfit.Field != field || !strings.Contains(unfit.Reason, reason) {
		t.Errorf("%v: %v, field %q, reason %q; want field %q, reason %q", typ, unfit.Type, unfit.Field, unfit.Reason, field, reason)
	}
	if l != nil {
		t.Errorf("%v: layout %#v beside the error", typ, *l)
	}
	if _, again := Of[T](); again == nil || again.Error() != err.Error() {
		t.Errorf("%v: %v the second time, %v before", typ, again, err)
	}
}

// TestLayoutOfUnfit lists every kind of type that can't be shared.
func TestLayoutOfUnfit(t *testing.T) {
	const address, machine, copies, size = "points into", "differs in size", "must not be copied", "has no size"
	checkUnfit[*int32](t, "", "*int32 "+address)
	checkUnfit[unsafe.Pointer](t, "", address)
	checkUnfit[string](t, "", "option char, or an shm.String")
	checkUnfit[[]byte](t, "", "[]uint8 "+address+" the memory of one process; use an array")
	checkUnfit[map[int8]int8](t, "", "use an array of structs")
	checkUnfit[chan int8](t, "", address)
	checkUnfit[func()](t, "", address)
	checkUnfit[any](t, "", address)
	checkUnfit[error](t, "", address)
	checkUnfit[int](t, "", "int "+machine+" between machines; use int32 or int64")
	checkUnfit[uint](t, "", "use uint32 or uint64")
	checkUnfit[uintptr](t, "", machine)
	checkUnfit[reflect.Kind](t, "", "reflect.Kind "+machine)
	checkUnfit[struct{}](t, "", size)
	checkUnfit[[0]int32](t, "", size)
	checkUnfit[[0]*int32](t, "", size)
	checkUnfit[[3][0]int32](t, "[]", size)
	checkUnfit[[3]struct{}](t, "[]", size)
	checkUnfit[struct{ _ structs.HostLayout }](t, "", size)
	checkUnfit[struct {
		A int32
		B struct{}
	}](t, "B", size)
	checkUnfit[struct {
		_ [0]func()
		A int32
	}](t, "_", size)
	checkUnfit[sync.Mutex](t, "", copies)
	checkUnfit[struct{ sync.Mutex }](t, "Mutex", "sync.Mutex must not")
	checkUnfit[struct{ N atomic.Int64 }](t, "N", copies)
	checkUnfit[[2]atomic.Pointer[int]](t, "[]", copies)
	checkUnfit[time.Time](t, "", address)
	checkUnfit[struct{ A, _ *int }](t, "A", address)
	checkUnfit[struct{ _ *int }](t, "_", address)
	checkUnfit[struct{ *xy }](t, "xy", address)
	checkUnfit[struct{ Inner []boxOf[*int8] }](t, "Inner", address)
	checkUnfit[struct{ Inner [2][3]boxOf[boxOf[*int8]] }](t, "Inner[][].V.V", "*int8 "+address)
	checkUnfit[[2]boxOf[[2]string]](t, "[].V[]", address)
	// Tags and names.
	checkUnfit[struct {
		A [4]byte `shm:"a:b"`
	}](t, "A", `"a:b"`)
	checkUnfit[struct {
		A int8 `shm:"a b"`
	}](t, "A", "is not allowed")
	checkUnfit[struct {
		A int8 `shm:"a}"`
	}](t, "A", "is not allowed")
	checkUnfit[struct {
		A int8 `shm:"a\x00"`
	}](t, "A", "is not allowed")
	checkUnfit[struct {
		A int8 `shm:"a\xff"`
	}](t, "A", "is not allowed")
	checkUnfit[struct {
		A int8
		B int8 `shm:"A"`
	}](t, "B", `duplicate field name "A"`)
	checkUnfit[struct {
		A int8 `shm:"x,size=4"`
	}](t, "A", `unknown tag option "size=4"`)
	checkUnfit[struct {
		A [4]byte `shm:"x,char,char"`
	}](t, "A", "unknown tag option")
	checkUnfit[struct {
		A int8 `shm:"x,"`
	}](t, "A", `unknown tag option ""`)
	checkUnfit[struct {
		A int8 `shm:"-"`
	}](t, "A", "left out")
	checkUnfit[struct {
		_ [4]byte `shm:"x"`
		A int8
	}](t, "_", "cannot have a tag")
	checkUnfit[struct {
		A byte `shm:",char"`
	}](t, "A", "not uint8")
	checkUnfit[struct {
		A [4]int8 `shm:",char"`
	}](t, "A", "array of bytes")
	checkUnfit[struct {
		A [0]byte `shm:",char"`
	}](t, "A", "array of bytes")
	checkUnfit[struct {
		A []byte `shm:",char"`
	}](t, "A", "array of bytes")
	checkUnfit[struct {
		A xy `shm:",char"`
	}](t, "A", "array of bytes")
	// Alignment that padding can't express.
	checkUnfit[struct {
		A int8
		_ int32
	}](t, "_", "4 bytes")
	checkUnfit[struct {
		Inner [2]struct {
			_ int32
			A int16
		}
	}](t, "Inner[]._", "blank")
}

// TestLayoutOfTooLarge builds types at run time that exceed what a format may
// hold; a part may reach the limit.
func TestLayoutOfTooLarge(t *testing.T) {
	nest := func(n int, wrap func(reflect.Type) reflect.Type) reflect.Type {
		typ := reflect.TypeFor[int8]()
		for range n {
			typ = wrap(typ)
		}
		return typ
	}
	array := func(t reflect.Type) reflect.Type { return reflect.ArrayOf(1, t) }
	wrap := func(t reflect.Type) reflect.Type {
		return reflect.StructOf([]reflect.StructField{{Name: "F", Type: t}})
	}
	twice := func(t reflect.Type) reflect.Type {
		return reflect.StructOf([]reflect.StructField{{Name: "F", Type: t}, {Name: "G", Type: t}})
	}
	tests := []struct {
		name string
		typ  reflect.Type
		ok   bool
	}{
		{"arrays", nest(maxDepth, array), true},
		{"too many arrays", nest(maxDepth+1, array), false},
		{"structs", nest(maxDepth, wrap), true},
		{"too many structs", nest(maxDepth+1, wrap), false},
		{"fields", nest(10, twice), true},
		{"too many fields", nest(14, twice), false},
		{"bytes", reflect.ArrayOf(maxSize, reflect.TypeFor[byte]()), true},
		{"too many bytes", reflect.ArrayOf(maxSize+1, reflect.TypeFor[byte]()), false},
	}
	for _, test := range tests {
		l, err := OfType(test.typ)
		if !test.ok {
			if unfit := (*Unfit)(nil); !errors.As(err, &unfit) {
				t.Errorf("%s: %v, want an Unfit", test.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if back, err := Parse(l.Format); err != nil || !reflect.DeepEqual(back, *l) {
			t.Errorf("%s: doesn't come back: %v", test.name, err)
		}
	}
}

func TestUnfitError(t *testing.T) {
	errOf := func(_ *Layout, err error) error { return err }
	tests := []struct {
		err  error
		want string
	}{
		{errOf(Of[string]()), "shm: string: string points into the memory of one process; use [N]byte with the tag option char, or an shm.String"},
		{errOf(Of[time.Time]()), "shm: time.Time: time.Time points into the memory of one process; use an int64 with its UnixNano"},
		{errOf(Of[[2]time.Time]()), "shm: [2]time.Time[]: time.Time points into the memory of one process; use an int64 with its UnixNano"},
		{errOf(Of[struct{ A, B [2]int }]()), "shm: A[]: int differs in size between machines; use int32 or int64"},
		{errOf(Of[struct{}]()), "shm: struct {}: struct {} has no size; add a field, or remove it"},
		{errOf(Of[[2]sync.Mutex]()), "shm: [2]sync.Mutex[]: sync.Mutex must not be copied; use an shm.Atomic or shm.Mutex of its own name"},
		{errOf(Of[chan int8]()), "shm: chan int8: chan int8 points into the memory of one process; use an shm.Value or Struct of its own name, and Await or Changes"},
		{&Unfit{Field: "A", Reason: "why"}, "shm: A: why"},
	}
	for _, test := range tests {
		if got := test.err.Error(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}
