package layout

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
	"testing"
)

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
		parsed, err := Parse(format)
		if err != nil || parsed.Format != format {
			t.Errorf("%s: Parse(%q) = %q, %v", v.Name, format, parsed.Format, err)
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
		l, err := OfType(typ)
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
	dims, elem := l.Dims()
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
