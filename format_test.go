package shm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestParseLayout covers what LayoutOf doesn't write: ctypes' other spellings,
// other machines' layouts, characters alone.
func TestParseLayout(t *testing.T) {
	tests := []struct {
		format, canonical string
		size, align       int // of a machine that aligns to 8
	}{
		{"<l", "<i", 4, 4},
		{"<L", "<I", 4, 4},
		{"(2,2)<l", "(2,2)<i", 16, 4},
		{"T{<l:a:}", "T{<i:a:}", 4, 4},
		{"<c", "<c", 1, 1},
		{"(16)<c", "(16)<c", 16, 1},
		{"T{<c:a:<c:x:}", "T{<c:a:<c:x:}", 2, 1},
		{"T{xx3x<b:a:1x}", "T{5x<b:a:x}", 7, 1},
		{"T{<b:1:<b:T:<b:x:}", "T{<b:1:<b:T:<b:x:}", 3, 1},
		{"T{<I:a:<Q:b:}", "T{<I:a:<Q:b:}", 12, 4}, // 386
		{"T{<Q:a:<I:b:}", "T{<Q:a:<I:b:}", 12, 4}, // 386
		{"T{<b:a:<q:b:}", "T{<b:a:<q:b:}", 9, 1},  // packed
		{"T{<b:a:<q:b:7x}", "T{<b:a:<q:b:7x}", 16, 1},
		{"T{(0x1)<b:a:}", "", 0, 0},
	}
	for _, test := range tests {
		l, err := ParseLayout(nativeFormat(test.format))
		if test.canonical == "" {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%s: %v", test.format, err)
			}
			continue
		}
		if err != nil || l.Format != nativeFormat(test.canonical) || l.Size != test.size || l.Align != test.align {
			t.Errorf("%s: %+v, %v; want %s of %d bytes, aligned to %d", test.format, l, err, test.canonical, test.size, test.align)
		}
	}
}

func TestParseLayoutHostile(t *testing.T) {
	foreign := map[string]string{"<": ">i", ">": "<i"}[byteOrder]
	deep := func(n int) string { return strings.Repeat("T{", n) + "<b" + strings.Repeat(":a:}", n) }
	tests := []struct{ format, want string }{
		{"", "at byte 0"},
		{foreign, "at byte 0"},
		{"i", "at byte 0"},
		{"@i", "at byte 0"},
		{"<", "code at byte 1"},
		{"<Z", "code at byte 1"},
		{"<Zq", "code at byte 1"},
		{"<P", "code at byte 1"},
		{"<i ", "end expected at byte 2"},
		{"<i<i", "end expected at byte 2"},
		{"3x", "at byte 0"},
		{"()<i", "number"},
		{"(", "number"},
		{"(2", ") expected at byte 2"},
		{"(2,", "number"},
		{"(2,)<i", "number"},
		{"(0)<i", "number"},
		{"(02)<i", "number"},
		{"(-1)<i", "number"},
		{"(2)", "at byte 3"},
		{"(2)(3)<i", "at byte 3"},
		{"(2)x", "at byte 3"},
		{"(99999999999999999999)<b", "more than"},
		{"(1048576,1048576,2)<b", "more than"},
		{"(1048576,1048576)<d", "more than"},
		{"T", "at byte 0"},
		{"T{", "at byte 2"},
		{"T{}", "without a size at byte 3"},
		{"T{<i}", "name expected at byte 4"},
		{"T{<i:", "unfinished field name at byte 5"},
		{"T{<i:a", "unfinished"},
		{"T{<i::}", "empty name at byte 5"},
		{"T{<i:a b:}", "unfit name"},
		{"T{<i:\x1b[2J:}", "unfit name"},
		{"T{<i:\xff:}", "unfit name"},
		{"T{<i:{:}", "unfit name"},
		{"T{<i:a:<i:a:}", "second field called \"a\" at byte 10"},
		{"T{<i:a:", "at byte 7"},
		{"T{<i:a:}:a:", "end expected"},
		{"T{3}", "x expected"},
		{"T{0x<i:a:}", "number"},
		{"T{3<i:a:}", "x expected"},
		{"T{1099511627777x}", "more than"},
		{"T{1099511627776x<b:a:}", "more than"},
		{deep(maxDepth + 1), "nested"},
		{strings.Repeat("T{", maxFormat/2), "nested"},
		{"(" + strings.Repeat("1,", maxDepth) + "1)<b", "dimensions"},
		{"T{" + strings.Repeat("x", maxFormat), "longer than"},
	}
	for _, test := range tests {
		format := nativeFormat(test.format)
		l, err := ParseLayout(format)
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("ParseLayout(%.60q): %v, want an ErrFormat with %q", format, err, test.want)
		}
		if !reflect.DeepEqual(l, Layout{}) {
			t.Errorf("ParseLayout(%.60q): %+v beside the error", format, l)
		}
	}
	if _, err := ParseLayout(nativeFormat(deep(maxDepth))); err != nil {
		t.Errorf("%d nested structs: %v", maxDepth, err)
	}
}

// ctypesScript builds the types that it reads on standard input and answers with
// what ctypes says about them.
const ctypesScript = `
import ctypes, json, sys
def build(t):
    kind = t["Kind"]
    if kind == "chars":
        return ctypes.c_char * t["Len"]
    if kind == "array":
        return build(t["Elem"]) * t["Len"]
    if kind == "struct":
        fields = [(f["Name"], build(f["Type"])) for f in t["Fields"]]
        return type("S", (ctypes.Structure,), {"_fields_": fields})
    names = {"bool": "c_bool", "float32": "c_float", "float64": "c_double"}
    return getattr(ctypes, names.get(kind, "c_" + kind))
def answer(t):
    c = build(t)
    t = dict(t, Size=ctypes.sizeof(c), Align=ctypes.alignment(c))
    if t["Kind"] == "struct":
        t["Fields"] = [dict(f, Offset=getattr(c, f["Name"]).offset, Type=answer(f["Type"])[0]) for f in t["Fields"]]
    if t["Kind"] == "array":
        t["Elem"] = answer(t["Elem"])[0]
    return t, memoryview(c()).format
if ctypes.alignment(ctypes.c_int64) != int(sys.argv[1]):
    sys.exit("another alignment")
json.dump([dict(zip(("Type", "Format"), answer(t))) for t in json.load(sys.stdin)], sys.stdout)
`

// TestCtypes makes random structs, has ctypes lay them out, and compares.
func TestCtypes(t *testing.T) {
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3: ", err)
	}
	rnd := rand.New(rand.NewPCG(3, 118))
	types := make([]ctype, 200)
	for i := range types {
		types[i] = randomStruct(rnd, 3)
	}
	input, err := json.Marshal(types)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-c", ctypesScript, fmt.Sprint(reflect.TypeFor[int64]().Align()))
	cmd.Stdin = bytes.NewReader(input)
	output, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if strings.Contains(string(exit.Stderr), "another alignment") || strings.Contains(string(exit.Stderr), "ctypes") {
			t.Skipf("no comparable ctypes: %s", exit.Stderr)
		}
		t.Fatalf("%v: %s", err, exit.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	var answers []struct {
		Type   ctype
		Format string
	}
	if err := json.Unmarshal(output, &answers); err != nil || len(answers) != len(types) {
		t.Fatalf("%d answers: %v", len(answers), err)
	}
	padding := regexp.MustCompile(`\d*x`) // no field's name has an x
	pads := false
	for _, a := range answers {
		pads = pads || padding.MatchString(a.Format)
	}
	for _, a := range answers {
		typ, _ := a.Type.goType()
		l, err := layoutOf(typ)
		if err != nil {
			t.Errorf("%s: %v", a.Format, err)
			continue
		}
		got := l.Format
		if !pads { // before CPython 3.12
			got = padding.ReplaceAllString(got, "")
		}
		if got != a.Format {
			t.Errorf("format %s, ctypes has %s", got, a.Format)
		}
		a.Type.compare(t, a.Format, *l)
		checkSound(t, *l)
	}
	t.Logf("ctypes writes padding: %v", pads)
}

func randomStruct(rnd *rand.Rand, depth int) ctype {
	s := ctype{Kind: "struct"}
	for i := range 1 + rnd.IntN(6) {
		s.Fields = append(s.Fields, cfield{Name: fmt.Sprintf("f%d", i), Type: randomType(rnd, depth-1)})
	}
	return s
}

func randomType(rnd *rand.Rand, depth int) ctype {
	kinds := []string{"bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"}
	switch n := rnd.IntN(10); {
	case n == 0:
		return ctype{Kind: "chars", Len: 1 + rnd.IntN(9)}
	case n < 3:
		elem := randomType(rnd, depth)
		return ctype{Kind: "array", Len: 1 + rnd.IntN(4), Elem: &elem}
	case n < 6 && depth > 0:
		return randomStruct(rnd, depth)
	}
	return ctype{Kind: kinds[rnd.IntN(len(kinds))]}
}

// checkSound checks what holds for a layout and each layout in it.
func checkSound(t *testing.T, l Layout) {
	t.Helper()
	back, err := ParseLayout(l.Format)
	if err != nil || !reflect.DeepEqual(back, l) {
		t.Fatalf("ParseLayout(%q) = %+v, %v; want %+v", l.Format, back, err, l)
	}
	if l.Size <= 0 || l.Size > maxSize || l.Align <= 0 || l.Align&(l.Align-1) != 0 || l.Size%l.Align != 0 {
		t.Fatalf("%q: %d bytes, aligned to %d", l.Format, l.Size, l.Align)
	}
	dims, elem := l.array()
	size := elem.Size
	for _, n := range dims {
		size *= n
	}
	if size != l.Size || len(dims) > maxDepth {
		t.Fatalf("%q: %v of %d bytes make %d, not %d", l.Format, dims, elem.Size, size, l.Size)
	}
	end := 0
	for _, field := range elem.Fields {
		if field.Name == "" || field.Offset < end {
			t.Fatalf("%q: field %q at %d, after one that ends at %d", l.Format, field.Name, field.Offset, end)
		}
		end = field.Offset + field.Layout.Size
		checkSound(t, field.Layout)
	}
	if end > elem.Size {
		t.Fatalf("%q: fields end at %d of %d", l.Format, end, elem.Size)
	}
}
