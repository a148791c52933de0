package layout

import (
	"reflect"
	"strings"
	"testing"
)

// TestParseLayout covers what OfType does not write: other spellings of ctypes,
// layouts of other machines, single characters.
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
		// Names that versions of Unicode do not agree on: whether a character is
		// printable, or assigned at all.
		{"T{<b:\u2ffc:<b:\U0001fae8:<b:\u00a0:<b:\u009b:}", "T{<b:\u2ffc:<b:\U0001fae8:<b:\u00a0:<b:\u009b:}", 4, 1},
		{"T{<b:\u2028:<b:\u202e:<b:\ue000:<b:\ufffe:<b:\U0010ffff:}", "T{<b:\u2028:<b:\u202e:<b:\ue000:<b:\ufffe:<b:\U0010ffff:}", 5, 1},
		{"T{(0x1)<b:a:}", "", 0, 0},
	}
	for _, test := range tests {
		l, err := Parse(nativeFormat(test.format))
		if test.canonical == "" {
			if err == nil {
				t.Errorf("%s: %#v, want an error", test.format, l)
			}
			continue
		}
		if err != nil || l.Format != nativeFormat(test.canonical) || l.Size != test.size || l.Align != test.align {
			t.Errorf("%s: %#v, %v; want %s of %d bytes, aligned to %d", test.format, l, err, test.canonical, test.size, test.align)
		}
	}
}

func TestParseLayoutHostile(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("T{", n) + "<b" + strings.Repeat(":a:}", n) }
	tests := []struct{ format, want string }{
		{"", "at byte 0"},
		{"~i", "at byte 0"}, // the other byte order
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
		{"T{}", "struct has no size at byte 3"},
		{"T{<i}", "name expected at byte 4"},
		{"T{<i:", "field name has no end at byte 5"},
		{"T{<i:a", "has no end"},
		{"T{<i::}", "empty field name at byte 5"},
		{"T{<i:a b:}", "is not allowed"},
		{"T{<i:\x1b[2J:}", "is not allowed"},
		{"T{<i:\x7f:}", "is not allowed"},
		{"T{<i:a\x00:}", "is not allowed"},
		{"T{<i:\xff:}", "is not allowed"},
		{"T{<i:\xc0\xa0:}", "is not allowed"},         // overlong
		{"T{<i:\xed\xa0\x80:}", "is not allowed"},     // a surrogate
		{"T{<i:\xf4\x90\x80\x80:}", "is not allowed"}, // above U+10FFFF
		{"T{<i:a\xe2\x82:}", "is not allowed"},        // cut off
		{"T{<i:{:}", "is not allowed"},
		{"T{<i:a:<i:a:}", "duplicate field name \"a\" at byte 10"},
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
	foreign := map[string]string{"<": ">", ">": "<"}[ByteOrder]
	for _, test := range tests {
		format := strings.Replace(nativeFormat(test.format), "~", foreign, 1)
		l, err := Parse(format)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Parse(%.60q): %v, want an error with %q", format, err, test.want)
		}
		if !reflect.DeepEqual(l, Layout{}) {
			t.Errorf("Parse(%.60q): %#v beside the error", format, l)
		}
	}
	if _, err := Parse(nativeFormat(deep(maxDepth))); err != nil {
		t.Errorf("%d nested structs: %v", maxDepth, err)
	}
}

// checkSound checks what holds for a layout and each layout in it.
func checkSound(t *testing.T, l Layout) {
	t.Helper()
	back, err := Parse(l.Format)
	if err != nil || !reflect.DeepEqual(back, l) {
		t.Fatalf("Parse(%q) = %#v, %v; want %#v", l.Format, back, err, l)
	}
	if l.Size <= 0 || l.Size > maxSize || l.Align <= 0 || l.Align&(l.Align-1) != 0 || l.Size%l.Align != 0 {
		t.Fatalf("%q: %d bytes, aligned to %d", l.Format, l.Size, l.Align)
	}
	dims, elem := l.Dims()
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

// FuzzParseLayout feeds formats as a broken or hostile peer may write them.
// The answer is an error or a layout, never both, and a layout is sound.
func FuzzParseLayout(f *testing.F) {
	for _, seed := range []string{
		"", "<i", "<Zd", "<l", "(2,3)<d", "(16)<c", "T{}", "T{64x}", "T{xx3x<b:a:}", "T{<b:a:3x<i:b:}",
		"T{<I:a:<Q:b:}", "T{<i:a:<i:a:}", "(2)T{T{<B:a:x<H:b:}:s:(3,5)<c:n:2x}", "(1048576,1048576,2)<b",
		"T{<q:\u00fc:T{T{T{<?:a:}:b:}:c:}:d:7x}", "(9999999999999999999)<b", "T{<i:",
	} {
		f.Add(nativeFormat(seed))
	}
	f.Fuzz(func(t *testing.T, format string) {
		l, err := Parse(format)
		if err != nil {
			if err.Error() == "" || !reflect.DeepEqual(l, Layout{}) {
				t.Fatalf("%#v, %v", l, err)
			}
			return
		}
		if len(l.Format) > len(format) {
			t.Fatalf("%q grew to %q", format, l.Format)
		}
		checkSound(t, l)
		if !l.Equal(l) || !l.Extends(l) || Diff(l, l) != "" || l.String() == "" {
			t.Fatalf("%q differs from itself", l.Format)
		}
	})
}
