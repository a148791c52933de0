package shm

import (
	"errors"
	"reflect"
	"testing"
)

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
		l, err := ParseLayout(format)
		if err != nil {
			if !errors.Is(err, ErrFormat) || !reflect.DeepEqual(l, Layout{}) {
				t.Fatalf("%+v, %v", l, err)
			}
			return
		}
		if len(l.Format) > len(format) {
			t.Fatalf("%q grew to %q", format, l.Format)
		}
		checkSound(t, l)
		if !l.Equal(l) || !l.extends(l) || diff(l, l) != "" || l.text() == "" {
			t.Fatalf("%q differs from itself", l.Format)
		}
	})
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
