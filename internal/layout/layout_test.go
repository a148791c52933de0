package layout

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// nativeFormat rewrites a format or an error text that was written for a
// little-endian machine.
func nativeFormat(format string) string { return strings.ReplaceAll(format, "<", ByteOrder) }

// wideAlign is whether 8-byte numbers are aligned to 8, as the vectors assume.
var wideAlign = reflect.TypeFor[int64]().Align() == 8

func mustLayout[T any](t *testing.T) Layout {
	t.Helper()
	l, err := Of[T]()
	if err != nil {
		t.Fatal(err)
	}
	return *l
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
		{"inside the last field", mustLayout[boxOf[v2]](t), mustLayout[boxOf[v1]](t), true},
		{"inside the last field of the last", mustLayout[boxOf[boxOf[v3]]](t), mustLayout[boxOf[boxOf[v1]]](t), true},
		{"inside and behind it", mustLayout[pairOf[v2, int8]](t), mustLayout[boxOf[v1]](t), true},
		{"inside another field", mustLayout[pairOf[v2, int8]](t), mustLayout[pairOf[v1, int8]](t), false},
		{"inside, but shorter", mustLayout[boxOf[v1]](t), mustLayout[boxOf[v2]](t), false},
		{"inside, but shorter, and behind it", mustLayout[pairOf[v1, int64]](t), mustLayout[boxOf[v2]](t), false},
		{"inside, retyped", mustLayout[boxOf[xy]](t), mustLayout[boxOf[v1]](t), false},
		{"inside, moved by its alignment", mustLayout[struct {
			A int32
			V v3
		}](t), mustLayout[struct {
			A int32
			V v1
		}](t), !wideAlign}, // with 4 bytes it stays where it is
		{"inside an array", mustLayout[boxOf[[1]v2]](t), mustLayout[boxOf[[1]v1]](t), false},
		{"inside, from nothing", mustLayout[boxOf[v1]](t), mustLayout[boxOf[struct{ _ [4]byte }]](t), true},
		{"number", mustLayout[int32](t), mustLayout[int32](t), true},
		{"wider number", mustLayout[int64](t), mustLayout[int32](t), false},
		{"array of structs", mustLayout[[2]v2](t), mustLayout[[2]v1](t), false},
		{"struct after array", mustLayout[v2](t), mustLayout[[1]v1](t), false},
		{"array after struct", mustLayout[[1]v2](t), mustLayout[v1](t), false},
		{"longer array", mustLayout[[3]int8](t), mustLayout[[2]int8](t), false},
	}
	for _, test := range tests {
		if got := test.long.Extends(test.shorter); got != test.want {
			t.Errorf("%s: %q extends %q: %v", test.name, test.long.Format, test.shorter.Format, got)
		}
		// Writers of the shorter type write up to its end: no other field begins before.
		if end := test.shorter.End(); test.want && slices.ContainsFunc(begins(test.long, 0), func(at int) bool {
			return at < end && !slices.Contains(begins(test.shorter, 0), at)
		}) {
			t.Errorf("%s: a field of %q begins before %d, where %q ends", test.name, test.long.Format, end, test.shorter.Format)
		}
	}
}

// begins returns where the fields of a struct begin, and those of structs inside.
func begins(l Layout, at int) (list []int) {
	for _, f := range l.Fields {
		list = append(list, at+f.Offset)
		if f.Layout.isStruct() {
			list = append(list, begins(f.Layout, at+f.Offset)...)
		}
	}
	return list
}

func TestClone(t *testing.T) {
	l := mustLayout[boxOf[xy]](t)
	c := l.Clone()
	c.Fields[0].Layout.Fields[1].Name = "changed"
	c.Fields[0].Name = "changed"
	if inner := l.Fields[0]; inner.Name != "V" || inner.Layout.Fields[1].Name != "Y" {
		t.Errorf("the original is %#v after its copy was changed", l)
	}
}
