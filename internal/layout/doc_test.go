package layout_test

import (
	"reflect"
	"slices"
	"testing"

	"example.org/shm/internal/format/formattest"
	"example.org/shm/internal/layout"
)

// TestFormatDocCodes compares the codes in FORMAT.md with those that Parse
// accepts, among all of one byte and of two bytes that begin with Z.
func TestFormatDocCodes(t *testing.T) {
	d := formattest.ReadDoc(t)
	var doc []string
	for _, row := range d.Table("codes") {
		l, err := layout.Parse(layout.ByteOrder + row[0])
		if err != nil || l.Size != int(d.Number(row[1])) {
			t.Errorf("%s: %d bytes, %v", row[0], l.Size, err)
		}
		doc = append(doc, row[0]+" "+row[2])
	}
	var code []string
	for c := range 256 {
		for _, s := range []string{string([]byte{byte(c)}), string([]byte{'Z', byte(c)})} {
			l, err := layout.Parse(layout.ByteOrder + s)
			if err != nil || l.Format != layout.ByteOrder+s { // an error, or another name of a code
				continue
			}
			typ := l.Number()
			if l.IsText() {
				typ = reflect.TypeFor[byte]()
			}
			code = append(code, s+" "+typ.String())
		}
	}
	slices.Sort(doc)
	slices.Sort(code)
	if !slices.Equal(doc, code) {
		t.Errorf("FORMAT.md has %q, the code %q", doc, code)
	}
}
