package shm

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"reflect"
	"strconv"
	"strings"
	"structs"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// nativeFormat rewrites a format or an error text that was written for a
// little-endian machine.
func nativeFormat(format string) string { return strings.ReplaceAll(format, "<", byteOrder) }

// wideAlign is whether 8-byte numbers are aligned to 8, as the vectors assume.
var wideAlign = reflect.TypeFor[int64]().Align() == 8

// ctype is a type as testdata describes it.
type ctype struct {
	Kind        string
	Name        string
	Size, Align int
	Len         int
	Elem        *ctype
	Fields      []cfield
}

type cfield struct {
	Name         string
	Type         ctype
	Offset, Size int
}

var goKinds = func() map[string]reflect.Type {
	m := make(map[string]reflect.Type)
	for _, s := range scalars {
		m[s.typ.Kind().String()] = s.typ
	}
	return m
}()

// goType returns the Go type, and whether a field of it needs the option char.
func (c *ctype) goType() (t reflect.Type, char bool) {
	switch c.Kind {
	case "chars":
		return reflect.ArrayOf(c.Len, reflect.TypeFor[byte]()), true
	case "array":
		t, char = c.Elem.goType()
		return reflect.ArrayOf(c.Len, t), char
	case "struct":
		var fields []reflect.StructField
		for i, f := range c.Fields {
			t, char := f.Type.goType()
			tag := f.Name
			if char {
				tag += ",char"
			}
			fields = append(fields, reflect.StructField{
				Name: fmt.Sprintf("F%d", i), Type: t, Tag: reflect.StructTag(fmt.Sprintf("shm:%q", tag)),
			})
		}
		return reflect.StructOf(fields), false
	}
	return goKinds[c.Kind], false
}

// compare checks a layout against what ctypes says about the type.
func (c *ctype) compare(t *testing.T, path string, l Layout) {
	t.Helper()
	if l.Size != c.Size || l.Align != c.Align && wideAlign {
		t.Errorf("%s: size %d, align %d; want %d, %d", path, l.Size, l.Align, c.Size, c.Align)
	}
	for c.Kind == "array" {
		c = c.Elem
	}
	if len(l.Fields) != len(c.Fields) {
		t.Fatalf("%s: %d fields, want %d", path, len(l.Fields), len(c.Fields))
	}
	for i, want := range c.Fields {
		got := l.Fields[i]
		if got.Name != want.Name || got.Offset != want.Offset {
			t.Errorf("%s: %q at %d, want %q at %d", path, got.Name, got.Offset, want.Name, want.Offset)
		}
		want.Type.compare(t, path+"."+want.Name, got.Layout)
	}
}

func readVectors(t *testing.T, file string, into any) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestStructVectors compares with what CPython's ctypes said about the same
// structs.
func TestStructVectors(t *testing.T) {
	var vectors []struct {
		ctype
		PEP3118   string
		SampleHex string `json:"sample_hex"`
	}
	readVectors(t, "struct.json", &vectors)
	if len(vectors) == 0 {
		t.Fatal("no vectors")
	}
	for _, v := range vectors {
		v.Kind = "struct"
		format := nativeFormat(v.PEP3118)
		parsed, err := ParseLayout(format)
		if err != nil || parsed.Format != format {
			t.Errorf("%s: ParseLayout(%q) = %q, %v", v.Name, format, parsed.Format, err)
			continue
		}
		v.compare(t, v.Name, parsed)
		typ, _ := v.goType()
		sample, err := hex.DecodeString(v.SampleHex)
		if err != nil {
			t.Fatal(err)
		}
		data := leaves(parsed, sample)
		if want := binary.Size(reflect.New(typ).Elem().Interface()); len(data) != want {
			t.Errorf("%s: the fields' offsets cover %d bytes of %d, want %d", v.Name, len(data), len(sample), want)
		}
		if v.Align == 8 && !wideAlign {
			continue // Go lays it out otherwise here
		}
		l, err := layoutOf(typ)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		if !l.Equal(parsed) {
			t.Errorf("%s: format %q, want %q", v.Name, l.Format, format)
		}
		v.compare(t, v.Name, *l)
	}
}

// leaves collects the bytes of a value that are no padding.
func leaves(l Layout, b []byte) (data []byte) {
	dims, elem := l.array()
	if elem.Fields == nil {
		return b[:l.Size]
	}
	n := 1
	for _, d := range dims {
		n *= d
	}
	for i := range n {
		for _, f := range elem.Fields {
			data = append(data, leaves(f.Layout, b[i*elem.Size+f.Offset:])...)
		}
	}
	return data
}

// TestNumericVectors checks that Go's conversions put the bytes into memory that
// ctypes puts there on assignment, out of range too, and that Go reads from the
// bytes what ctypes reads.
func TestNumericVectors(t *testing.T) {
	var vectors map[string][]struct {
		Set        *string // nil: the bytes were written by other means
		Bytes, Get string  // no bytes: ctypes refuses
	}
	readVectors(t, "numeric.json", &vectors)
	low64 := new(big.Int).SetUint64(1<<64 - 1)
	integer := func(s string) uint64 {
		n, ok := new(big.Int).SetString(s, 10)
		if !ok {
			t.Fatalf("no integer: %q", s)
		}
		return n.And(n, low64).Uint64()
	}
	float := func(s string) float64 {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			t.Fatal(err)
		}
		return f
	}
	types := map[string]func(string) any{
		"c_int8":   func(s string) any { return int8(integer(s)) },
		"c_uint8":  func(s string) any { return uint8(integer(s)) },
		"c_int16":  func(s string) any { return int16(integer(s)) },
		"c_uint16": func(s string) any { return uint16(integer(s)) },
		"c_int32":  func(s string) any { return int32(integer(s)) },
		"c_uint32": func(s string) any { return uint32(integer(s)) },
		"c_int64":  func(s string) any { return int64(integer(s)) },
		"c_uint64": func(s string) any { return integer(s) },
		"c_float":  func(s string) any { return float32(float(s)) },
		"c_double": func(s string) any { return float(s) },
		"c_bool":   func(s string) any { return s == "True" },
	}
	for name, convert := range types {
		tested := 0
		for _, v := range vectors[name] {
			if v.Bytes == "" {
				continue
			}
			want, err := hex.DecodeString(v.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			// Assignment to a c_bool takes any object's truth: no conversion.
			if v.Set != nil && name != "c_bool" {
				got, _ := binary.Append(nil, binary.LittleEndian, convert(*v.Set))
				if !bytes.Equal(got, want) {
					t.Errorf("%s(%s) is %x, want %x", name, *v.Set, got, want)
				}
			}
			read := reflect.New(reflect.TypeOf(convert("0")))
			if _, err := binary.Decode(want, binary.LittleEndian, read.Interface()); err != nil {
				t.Fatal(err)
			}
			// As text, so that NaN equals NaN and -0 isn't 0.
			if got := fmt.Sprint(read.Elem()); got != fmt.Sprint(convert(v.Get)) {
				t.Errorf("%s %x reads as %s, want %s", name, want, got, v.Get)
			}
			tested++
		}
		if tested == 0 {
			t.Errorf("no vectors for %s", name)
		}
	}
}

type (
	xy    struct{ X, Y float64 }
	u8u16 struct {
		A uint8
		B uint16
	}
	celsius      float32
	uuid         [16]byte
	code4        [4]byte
	boxOf[T any] struct{ V T }
)

func checkLayout[T any](t *testing.T, want string) {
	t.Helper()
	typ := reflect.TypeFor[T]()
	l, err := LayoutOf[T]()
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
	back, err := ParseLayout(l.Format)
	if err != nil || !back.Equal(l) || !reflect.DeepEqual(back, l) {
		t.Errorf("%v: ParseLayout(%q) = %+v, %v; want %+v", typ, l.Format, back, err, l)
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
	l, err := LayoutOf[T]()
	var unfit *TypeError
	if !errors.As(err, &unfit) {
		t.Errorf("%v: %+v, %v; want a TypeError", typ, l, err)
		return
	}
	if unfit.Type != typ || unfit.Field != field || !strings.Contains(unfit.Reason, reason) {
		t.Errorf("%v: %v, field %q, reason %q; want field %q, reason %q", typ, unfit.Type, unfit.Field, unfit.Reason, field, reason)
	}
	if !reflect.DeepEqual(l, Layout{}) {
		t.Errorf("%v: layout %+v beside the error", typ, l)
	}
	if _, again := LayoutOf[T](); again == nil || again.Error() != err.Error() {
		t.Errorf("%v: %v the second time, %v before", typ, again, err)
	}
}

// TestLayoutOfUnfit lists every kind of type that can't be shared.
func TestLayoutOfUnfit(t *testing.T) {
	const address, machine, copies, size = "points into", "differs in size", "use Atomic", "has no size"
	checkUnfit[*int32](t, "", "*int32 "+address)
	checkUnfit[unsafe.Pointer](t, "", address)
	checkUnfit[string](t, "", "option char")
	checkUnfit[[]byte](t, "", "[]uint8 "+address)
	checkUnfit[map[int8]int8](t, "", address)
	checkUnfit[chan int8](t, "", address)
	checkUnfit[func()](t, "", address)
	checkUnfit[any](t, "", address)
	checkUnfit[error](t, "", address)
	checkUnfit[int](t, "", "int "+machine)
	checkUnfit[uint](t, "", machine)
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
	checkUnfit[struct{ sync.Mutex }](t, "Mutex", "sync.Mutex must")
	checkUnfit[struct{ N atomic.Int64 }](t, "N", copies)
	checkUnfit[[2]atomic.Pointer[int]](t, "[]", copies)
	checkUnfit[time.Time](t, "loc", address)
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
	}](t, "A", "unfit name")
	checkUnfit[struct {
		A int8 `shm:"a}"`
	}](t, "A", "unfit name")
	checkUnfit[struct {
		A int8 `shm:"a\x00"`
	}](t, "A", "unfit name")
	checkUnfit[struct {
		A int8 `shm:"a\xff"`
	}](t, "A", "unfit name")
	checkUnfit[struct {
		A int8
		B int8 `shm:"A"`
	}](t, "B", `second field called "A"`)
	checkUnfit[struct {
		A int8 `shm:"x,size=4"`
	}](t, "A", `unknown option "size=4"`)
	checkUnfit[struct {
		A [4]byte `shm:"x,char,char"`
	}](t, "A", "unknown option")
	checkUnfit[struct {
		A int8 `shm:"x,"`
	}](t, "A", `unknown option ""`)
	checkUnfit[struct {
		A int8 `shm:"-"`
	}](t, "A", "left out")
	checkUnfit[struct {
		_ [4]byte `shm:"x"`
		A int8
	}](t, "_", "no tag")
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
		{"too many fields", nest(20, twice), false},
		{"bytes", reflect.ArrayOf(maxSize, reflect.TypeFor[byte]()), true},
		{"too many bytes", reflect.ArrayOf(maxSize+1, reflect.TypeFor[byte]()), false},
	}
	for _, test := range tests {
		l, err := layoutOf(test.typ)
		if !test.ok {
			if unfit := (*TypeError)(nil); !errors.As(err, &unfit) {
				t.Errorf("%s: %v, want a TypeError", test.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if back, err := ParseLayout(l.Format); err != nil || !reflect.DeepEqual(back, *l) {
			t.Errorf("%s: doesn't come back: %v", test.name, err)
		}
	}
}

func TestLayoutOfIsACopy(t *testing.T) {
	l, err := LayoutOf[boxOf[xy]]()
	if err != nil {
		t.Fatal(err)
	}
	l.Fields[0].Layout.Fields[1].Name = "changed"
	l.Fields[0].Name = "changed"
	again, _ := LayoutOf[boxOf[xy]]()
	if inner := again.Fields[0]; inner.Name != "V" || inner.Layout.Fields[1].Name != "Y" {
		t.Errorf("the cache holds %+v after a caller changed its copy", again)
	}
}

func mustLayout[T any](t *testing.T) Layout {
	t.Helper()
	l, err := LayoutOf[T]()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLayoutEqual(t *testing.T) {
	different := []Layout{
		{},
		mustLayout[int32](t),
		mustLayout[uint32](t),
		mustLayout[float32](t),
		mustLayout[[1]int32](t),
		mustLayout[[2]int32](t),
		mustLayout[boxOf[int32]](t),
		mustLayout[struct{ W int32 }](t),
		mustLayout[struct{ V, W int32 }](t),
		mustLayout[struct{ V, W int16 }](t),
		mustLayout[struct{ W, V int16 }](t),
		mustLayout[struct {
			V int16
			_ [2]byte
		}](t),
		mustLayout[struct {
			_ [2]byte
			V int16
		}](t),
		mustLayout[struct {
			V [4]byte `shm:",char"`
		}](t),
		mustLayout[boxOf[[4]byte]](t),
	}
	for i, a := range different {
		for j, b := range different {
			if a.Equal(b) != (i == j) {
				t.Errorf("%q.Equal(%q) is %v", a.Format, b.Format, a.Equal(b))
			}
		}
	}
	type other struct {
		Abscissa float64 `shm:"X"`
		Y        float64
	}
	if !mustLayout[xy](t).Equal(mustLayout[other](t)) {
		t.Error("Go's names of types and fields make a difference")
	}
}

func TestExtends(t *testing.T) {
	type (
		v1 struct {
			N uint32
			C uint8
		}
		v2 struct {
			N    uint32
			C, D uint8 // D lies in v1's padding
		}
		v3 struct {
			N    uint32
			C, D uint8
			P    xy
		}
		padded struct {
			N uint32
			C uint8
			_ [59]byte
		}
	)
	tests := []struct {
		name          string
		long, shorter Layout
		want          bool
	}{
		{"itself", mustLayout[v1](t), mustLayout[v1](t), true},
		{"into padding", mustLayout[v2](t), mustLayout[v1](t), true},
		{"past the end", mustLayout[v3](t), mustLayout[v1](t), true},
		{"step by step", mustLayout[v3](t), mustLayout[v2](t), true},
		{"more padding", mustLayout[padded](t), mustLayout[v1](t), true},
		{"first field", mustLayout[v1](t), mustLayout[struct{ _ [4]byte }](t), true},
		{"the other way round", mustLayout[v1](t), mustLayout[v2](t), false},
		{"fewer bytes", mustLayout[v2](t), mustLayout[padded](t), false},
		{"renamed", mustLayout[struct{ M, D uint32 }](t), mustLayout[struct{ M, C uint32 }](t), false},
		{"retyped", mustLayout[struct{ N, C uint32 }](t), mustLayout[v1](t), false},
		{"reordered", mustLayout[struct{ B, A int8 }](t), mustLayout[struct{ A, B int8 }](t), false},
		{"inserted", mustLayout[struct{ A, X, B int8 }](t), mustLayout[struct{ A, B int8 }](t), false},
		{"moved", mustLayout[struct {
			A int8
			_ int8
			B int8
		}](t), mustLayout[struct{ A, B int8 }](t), false},
		{"inside a field", mustLayout[boxOf[v2]](t), mustLayout[boxOf[v1]](t), false},
		{"number", mustLayout[int32](t), mustLayout[int32](t), true},
		{"wider number", mustLayout[int64](t), mustLayout[int32](t), false},
		{"array of structs", mustLayout[[2]v2](t), mustLayout[[2]v1](t), false},
		{"struct after array", mustLayout[v2](t), mustLayout[[1]v1](t), false},
		{"array after struct", mustLayout[[1]v2](t), mustLayout[v1](t), false},
		{"longer array", mustLayout[[3]int8](t), mustLayout[[2]int8](t), false},
	}
	for _, test := range tests {
		if got := test.long.extends(test.shorter); got != test.want {
			t.Errorf("%s: %q extends %q: %v", test.name, test.long.Format, test.shorter.Format, got)
		}
	}
}
