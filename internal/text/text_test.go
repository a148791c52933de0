package text

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/layout"
)

// nativeLayout parses a format that is written for a little-endian machine.
func nativeLayout(t testing.TB, format string) layout.Layout {
	t.Helper()
	l, err := layout.Parse(strings.ReplaceAll(format, "<", layout.ByteOrder))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// memory returns the bytes of numbers, bools and arrays and structs of them, as
// this machine has them in memory.
func memory(t testing.TB, v any) []byte {
	t.Helper()
	b, err := binary.Append(nil, binary.NativeEndian, v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// structFormat has every kind of field.
const structFormat = "T{<?:On:<b:x:(6)<c:name:(2,3)<c:tags:(2,2)<h:Grid:2x(2)T{<Zf:Z:<f:F:}:In:}"

type inner struct {
	Z complex64
	F float32
}

// structMemory is what a value of that format has in memory. It has no padding
// that Go would add.
type structMemory struct {
	On   bool
	X    int8
	Name [6]byte
	Tags [2][3]byte
	Grid [2][2]int16
	_    [2]byte
	In   [2]inner
}

// TestEntry shows values as Go values and as text, and sets them to the text.
func TestEntry(t *testing.T) {
	full := structMemory{
		On: true, X: -1, Name: [6]byte{'a', '"', 'b'}, Tags: [2][3]byte{{'a', 'b', 'c'}, {}}, Grid: [2][2]int16{{1, 2}, {3, 4}},
		In: [2]inner{{1i, 0.5}, {}},
	}
	for _, c := range []struct {
		format string
		memory any
		value  any
		text   string
	}{
		{"<b", int8(-7), int8(-7), "-7"},
		{"<B", uint8(200), uint8(200), "200"},
		{"<h", int16(-300), int16(-300), "-300"},
		{"<H", uint16(math.MaxUint16), uint16(math.MaxUint16), "65535"},
		{"<i", int32(math.MinInt32), int32(math.MinInt32), "-2147483648"},
		{"<Q", uint64(math.MaxUint64), uint64(math.MaxUint64), "18446744073709551615"},
		{"<f", float32(0.1), float32(0.1), "0.1"},
		{"<d", 1234567.0, 1234567.0, "1234567"},
		{"<d", 1e-300, 1e-300, "1e-300"},
		{"<d", math.Inf(-1), math.Inf(-1), "-Inf"},
		{"<d", math.NaN(), math.NaN(), "NaN"},
		{"<d", math.Float64frombits(0xfff8000000000000), math.NaN(), "NaN(0xfff8000000000000)"},
		{"<Zf", complex64(1 - 2i), complex64(1 - 2i), "(1-2i)"},
		{"<Zd", complex(0, math.Inf(1)), complex(0, math.Inf(1)), "(0+Infi)"},
		{"<Zd", complex(1, math.Float64frombits(0x7ff8000000000002)), complex(1, math.NaN()), "complex(1, NaN(0x7ff8000000000002))"},
		{"<?", true, true, "true"},
		{"(4)<B", [4]byte{1, 2, 3, 255}, []uint8{1, 2, 3, 255}, "[1, 2, 3, 255]"},
		{"(8)<c", [8]byte([]byte("a\x1b[1m\x00zz")), "a\x1b[1m", `"a\x1b[1m"`},
		{"(2)<c", [2]byte{'a', 0xff}, "a\xff", `"a\xff"`},
		{"<c", [1]byte{'a'}, "a", `"a"`},
		{"(3)<i", [3]int32{1, -2, 3}, []int32{1, -2, 3}, "[1, -2, 3]"},
		{"(2)<d", [2]float64{0, 2.5}, []float64{0, 2.5}, "[0, 2.5]"},
		{structFormat, full, map[string]any{
			"On": true, "x": int8(-1), "name": `a"b`, "tags": []string{"abc", ""}, "Grid": [][]int16{{1, 2}, {3, 4}},
			"In": []map[string]any{{"Z": complex64(1i), "F": float32(0.5)}, {"Z": complex64(0), "F": float32(0)}},
		}, `{On: true, x: -1, name: "a\"b", tags: ["abc", ""], Grid: [[1, 2], [3, 4]], In: [{Z: (0+1i), F: 0.5}, {Z: (0+0i), F: 0}]}`},
		{"T{<b:a\u009b1m:<b:\"b\":<b:b:}", [3]int8{1, 2, 3}, map[string]any{"a\u009b1m": int8(1), `"b"`: int8(2), "b": int8(3)},
			`{"a\u009b1m": 1, "\"b\"": 2, b: 3}`},
	} {
		l, b := nativeLayout(t, c.format), memory(t, c.memory)
		if got := "is " + whole(l, b); got != "is "+c.text {
			t.Errorf("%s: %s, want %s", c.format, got, c.text)
		}
		// As text too, so that NaN equals NaN.
		if got := Value(l, b); !reflect.DeepEqual(got, c.value) && fmt.Sprintf("%T %v", got, got) != fmt.Sprintf("%T %v", c.value, c.value) {
			t.Errorf("%s: %T %v, want %T %v", c.format, got, got, c.value, c.value)
		}
		again := make([]byte, len(b))
		if err := set(l, again, " "+c.text+"\n"); err != nil {
			t.Errorf("%s: %v", c.format, err)
		}
		if got := whole(l, again); got != c.text {
			t.Errorf("%s: %s has become %s", c.format, c.text, got)
		}
		if l.Number() != nil && string(again) != string(b) {
			t.Errorf("%s: %x has become %x", c.format, b, again)
		}
	}
}

// set makes the changes that a text asks for.
func set(l layout.Layout, b []byte, text string) error {
	patches, err := Parse(l, text)
	for _, p := range patches {
		copy(b[p.Off:p.Off+len(p.Bytes)], p.Bytes)
	}
	return err
}

// TestEntryParse sets values to other spellings, and refuses texts that do not
// describe the value.
func TestEntryParse(t *testing.T) {
	formats := map[string]string{
		"int8": "<b", "uint16": "<H", "uint32": "<I", "float32": "<f", "complex64": "<Zf", "bool": "<?",
		"text": "(6)<c", "array": "(3)<h", "struct": structFormat,
	}
	for _, ok := range []struct {
		name, text string
		before     any // nil: zero
		want       any
	}{
		{"int8", "-128", nil, int8(-128)},
		{"int8", " 0x1f\t", nil, int8(31)},
		{"int8", "010", nil, int8(10)},
		{"int8", "+0b11", nil, int8(3)},
		{"uint32", "0xffff_ffff", nil, uint32(math.MaxUint32)},
		{"uint16", "65535", nil, uint16(math.MaxUint16)},
		{"float32", "1e3", nil, float32(1000)},
		{"float32", "-inf", nil, float32(math.Inf(-1))},
		{"float32", "-nan", nil, math.Float32frombits(0x7fc00000)},
		{"float32", "+NaN", nil, math.Float32frombits(0x7fc00000)},
		{"complex64", "1+2i", nil, complex64(1 + 2i)},
		{"complex64", "complex(3, -4)", nil, complex64(3 - 4i)},
		{"bool", "1", nil, true},
		{"bool", "False", true, false},
		{"text", "plain ", nil, [6]byte([]byte("plain "))},
		{"text", `"\u00e9\tx"`, nil, [6]byte([]byte("é\tx\x00\x00"))},
		{"text", `"\ud83d\uDE00\/\\"`, nil, [6]byte([]byte("😀/\\"))}, // as JSON may have it
		{"text", "`a\\`", nil, [6]byte{'a', '\\'}},
		{"text", "", [6]byte([]byte("sixsix")), [6]byte([]byte("\x00ixsix"))},
		{"text", "sixsix", nil, [6]byte([]byte("sixsix"))},
		{"text", "ab", [6]byte([]byte("sixsix")), [6]byte([]byte("ab\x00six"))},
		{"array", "[ 1,2 , -3]", nil, [3]int16{1, 2, -3}},
		{"array", "[2: 7]", [3]int16{1, 2, 3}, [3]int16{1, 2, 7}},
		{"array", "[ 2 : 7, 0:5 ]", [3]int16{1, 2, 3}, [3]int16{5, 2, 7}},
		{"struct", `{Grid: [1: [0: 9]], tags: [1: "z"], In: [0: {F: 2}]}`,
			structMemory{Grid: [2][2]int16{{1, 2}, {3, 4}}, Tags: [2][3]byte{{'x'}, {'y'}}, In: [2]inner{{1, 1}, {3, 3}}},
			structMemory{Grid: [2][2]int16{{1, 2}, {9, 4}}, Tags: [2][3]byte{{'x'}, {'z'}}, In: [2]inner{{1, 2}, {3, 3}}}},
		{"struct", "{}", structMemory{X: 1}, structMemory{X: 1}},
		{"struct", `{x: 2, On: true}`, structMemory{X: 1}, structMemory{X: 2, On: true}},
		{"struct", `{"\u0078": 5}`, nil, structMemory{X: 5}},
		{"struct", `{"x" : 3, "name": "abc", "Grid": [[1, 2], [3, 4]]}`, structMemory{On: true},
			structMemory{X: 3, On: true, Name: [6]byte{'a', 'b', 'c'}, Grid: [2][2]int16{{1, 2}, {3, 4}}}},
		{"struct", `{x: 4, tags: ["x", "yyy"]}`, nil, structMemory{X: 4, Tags: [2][3]byte{{'x'}, {'y', 'y', 'y'}}}},
	} {
		l := nativeLayout(t, formats[ok.name])
		b := make([]byte, l.Size)
		if ok.before != nil {
			b = memory(t, ok.before)
		}
		if err := set(l, b, ok.text); err != nil || string(b) != string(memory(t, ok.want)) {
			t.Errorf("%s %q: %v, %x, want %x", ok.name, ok.text, err, b, memory(t, ok.want))
		}
	}
	for _, bad := range []struct {
		name, text string
		want       error
		says       string
	}{
		{"int8", "300", strconv.ErrRange, "300"},
		{"int8", "-129", strconv.ErrRange, "int8"},
		{"int8", "", fs.ErrInvalid, ""},
		{"int8", "1.0", fs.ErrInvalid, ""},
		{"int8", "1 2", fs.ErrInvalid, `"2"`},
		{"int8", "1]", fs.ErrInvalid, ""},
		{"int8", "[1]", fs.ErrInvalid, ""},
		{"int8", "true", fs.ErrInvalid, ""},
		{"uint32", "-1", fs.ErrInvalid, ""},
		{"uint32", "4294967296", strconv.ErrRange, ""},
		{"float32", "1e39", strconv.ErrRange, ""},
		{"complex64", "1_0i", fs.ErrInvalid, "cannot read"},
		{"int8", "1_0", fs.ErrInvalid, "cannot read"},
		{"float32", "1_0", fs.ErrInvalid, "cannot read"},
		{"float32", "0x_1p4", fs.ErrInvalid, "cannot read"},
		{"float32", "NaN(0x7f800000)", fs.ErrInvalid, ""}, // an infinity
		{"float32", "NaN(0x7fc00001", fs.ErrInvalid, ""},
		{"complex64", "complex(1)", fs.ErrInvalid, ""},
		{"complex64", "complex(1, 2, 3)", fs.ErrInvalid, ""},
		{"complex64", "1e39i", strconv.ErrRange, ""},
		{"bool", "2", fs.ErrInvalid, ""},
		{"text", "seven77", errs.TooLong, "7 bytes"},
		{"text", `"seven77"`, errs.TooLong, ""},
		{"text", "a\x00", fs.ErrInvalid, "NUL"},
		{"text", `"a\x00"`, fs.ErrInvalid, "NUL"},
		{"text", `"open`, fs.ErrInvalid, ""},
		{"text", `"a"b`, fs.ErrInvalid, ""},
		{"text", `"\ud83d"`, fs.ErrInvalid, "quotes"},
		{"text", `"\ude00\ud83d"`, fs.ErrInvalid, "quotes"},
		{"text", `"\ud83d\u0041"`, fs.ErrInvalid, "quotes"},
		{"text", `"\ud83d\ude0"`, fs.ErrInvalid, "quotes"},
		{"text", `"\ud83d\Ude00"`, fs.ErrInvalid, "quotes"},
		{"text", `"\`, fs.ErrInvalid, "quotes"},
		{"text", `"\"`, fs.ErrInvalid, "quotes"},
		{"array", "[1, 2]", fs.ErrInvalid, "3 elements"},
		{"array", "[1, 2, 3, 4]", fs.ErrInvalid, ""},
		{"array", "[1, 2, x]", fs.ErrInvalid, "[2]"},
		{"array", "1, 2, 3", fs.ErrInvalid, ""},
		{"array", "[3: 1]", fs.ErrInvalid, "index 3"},
		{"array", "[18446744073709551615: 1]", fs.ErrInvalid, "index 18446744073709551615"},
		{"array", "[99999999999999999999: 1]", fs.ErrInvalid, "none with index"},
		{"array", "[-1: 1]", fs.ErrInvalid, ""},
		{"array", "[1: 1, 1: 2]", fs.ErrInvalid, "twice"},
		{"array", "[1: 1, 2]", fs.ErrInvalid, "index and a colon"},
		{"array", "[1: 1 2: 2]", fs.ErrInvalid, ""},
		{"array", "[0, 1: 1]", fs.ErrInvalid, ""},
		{"array", "[1: x]", fs.ErrInvalid, "[1]"},
		{"array", "[1: 1", fs.ErrInvalid, ""},
		{"struct", "{x: 1, x: 1}", fs.ErrInvalid, "twice"},
		{"struct", "{y: 1}", fs.ErrInvalid, `"y"`},
		{"struct", "{x 1}", fs.ErrInvalid, ""},
		{"struct", "{x: 5, On: 7}", fs.ErrInvalid, "On"},
		{"struct", "{x: 5", fs.ErrInvalid, ""},
		{"struct", "{x: 5} ;", fs.ErrInvalid, ""},
		{"struct", "{x: 5, name: sixsix}", fs.ErrInvalid, "name"},
		{"struct", `{x: 5, tags: ["a", "four"]}`, errs.TooLong, "tags[1]"},
		{"struct", `{x: 5, tags: ['a', "b"]}`, fs.ErrInvalid, "tags[0]"},
		{"struct", `{"z": 5}`, fs.ErrInvalid, `no field "z"`},
		{"struct", `{x: 5, In: [{F: 1}, {F: q}]}`, fs.ErrInvalid, "In[1].F"},
		{"struct", `{x: 5, Grid: [[1, 2], [3]]}`, fs.ErrInvalid, "Grid[1]"},
	} {
		patches, err := Parse(nativeLayout(t, formats[bad.name]), bad.text)
		if !errors.Is(err, bad.want) || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%s %q: %v", bad.name, bad.text, err)
		}
		if patches != nil {
			t.Errorf("%s %q: changes beside an error", bad.name, bad.text)
		}
	}
}

// FuzzText: the text of any memory of any layout is parsed as the same value.
func FuzzText(f *testing.F) {
	for _, format := range []string{"<b", "(3)<d", "(2,3)<Zd", "T{<?:a:3x(5)<c:b,c:(2)T{<f:f:<Zf:]:}:\"in\":}", "(4)<c", "(2,4)<c", "<c", "T{8x}", "(2)T{4x}", "<?", "(2)<?"} {
		f.Add(strings.ReplaceAll(format, "<", layout.ByteOrder), []byte("\x00\xff\x7f\xf0\x00\x00\xf8\x7f\"\\\x1b\xc3\xa9\x00\xff\xff\xff\xff"))
	}
	f.Fuzz(func(t *testing.T, format string, memory []byte) {
		l, err := layout.Parse(format)
		if err != nil || l.Size > 1<<12 {
			return
		}
		b := make([]byte, l.Size)
		for i := range b {
			if len(memory) > 0 {
				b[i] = memory[i%len(memory)]
			}
		}
		text := whole(l, b)
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Fatalf("%q", text)
		}
		back := make([]byte, l.Size)
		rand.NewChaCha8([32]byte{}).Read(back)
		if err := set(l, back, text); err != nil {
			t.Fatalf("%s of %s: %v", text, format, err)
		}
		if again := whole(l, back); again != text {
			t.Fatalf("%s has become %s", text, again)
		}
		if fmt.Sprint(Value(l, b)) != fmt.Sprint(Value(l, back)) {
			t.Fatalf("%v has become %v", Value(l, b), Value(l, back))
		}
		// A text that means nothing does no harm either.
		if patches, err := Parse(l, string(memory)); err == nil {
			for _, p := range patches {
				if p.Off < 0 || p.Off+len(p.Bytes) > l.Size {
					t.Fatalf("%q writes %d bytes at %d of %d", memory, len(p.Bytes), p.Off, l.Size)
				}
			}
		}
	})
}

// whole returns the whole text of a value.
func whole(l layout.Layout, b []byte) string {
	text, all := Append(nil, l, b, 1<<30)
	if !all {
		panic("a part of a text")
	}
	return string(text)
}

// A text that is too long is given up soon, and a value of too many parts is told by
// its layout.
func TestLimits(t *testing.T) {
	parse := func(format string) layout.Layout { return nativeLayout(t, format) }
	long := parse("(1000,1000)T{<b:" + strings.Repeat("n", 1000) + ":}")
	b := make([]byte, long.Size)
	if text, all := Append([]byte("is "), long, b, 5000); all || len(text) < 5000 || len(text) > 7000 {
		t.Errorf("%d bytes of a text with a limit of 5000, all: %v", len(text), all)
	}
	short := parse("(5)<i")
	if text, all := Append([]byte("is "), short, make([]byte, 20), 15); !all || string(text) != "is [0, 0, 0, 0, 0]" {
		t.Errorf("%q with a limit that is just enough, all: %v", text, all)
	}
	if _, all := Append([]byte("is "), short, make([]byte, 20), 14); all {
		t.Error("a text that is longer than the limit by one is said to be all")
	}
	for format, tooMany := range map[string]bool{
		"<q": false, "(16000000)<b": false, "(300000)<c": false, "(300000,1)<c": true, "(2,300000)<b": false, "(300000,2)<b": true,
		"T{<b:a:}": false, "(120000)T{<b:a:}": false, "(126000)T{<b:a:}": true, "T{(126000)T{<b:a:}:t:}": true,
		"(1000,1000,1000)T{<b:a:}": true, "(1000,1000,1000)<b": true,
	} {
		if got := TooMany(parse(format)); got != tooMany {
			t.Errorf("%s: too many is %v", format, got)
		}
	}
}
