package layout

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestDiff(t *testing.T) {
	tests := []struct{ have, want, diff string }{
		{"<i", "<d", ""},
		{"<i", "T{<i:a:}", ""},
		{"T{<i:a:}", "T{<i:a:}", ""},
		{"T{<i:a:<i:b:}", "T{<i:a:4x<d:b:<H:c:6x}",
			`  field "b": have int32 at 4, want float64 at 8
  field "c": have nothing, want uint16 at 16`},
		{"T{<i:a:<i:b:}", "T{<i:b:}",
			`  field "a": have int32 at 0, want nothing
  field "b": have int32 at 4, want int32 at 0`},
		{"T{(3,5)<c:a:(2,3)<Zf:b:}", "T{(15)<c:a:x(2)<Zd:b:}",
			`  field "a": have [3]char[5] at 0, want char[15] at 0
  field "b": have [2][3]complex64 at 15, want [2]complex128 at 16`},
		{"T{<c:a:}", "T{<?:a:}", `  field "a": have char at 0, want bool at 0`},
		{"T{<i:a:}", "T{<i:a:4x}", `  size: have 4 bytes, want 8`},
		{"T{<i:a:T{<b:x:3x}:b:}", "T{<i:a:T{<b:x:7x}:b:}", `  field "b": have 4 bytes, want 8`},
		{"T{<i:a:(2)T{<b:x:<b:y:}:b:}", "T{<i:a:(2)T{<b:x:<B:y:}:b:}",
			`  field "b[].y": have int8 at 5, want uint8 at 5`},
		{"T{<i:a:(2)T{<b:x:}:b:}", "T{<i:a:(3)T{<b:x:}:b:}",
			`  field "b": have [2]struct{...} at 4, want [3]struct{...} at 4`},
		{"(2)T{<b:x:}", "(2)T{<B:x:}", `  field "x": have int8 at 0, want uint8 at 0`},
		{"(2)T{<b:x:}", "(3)T{<b:x:}", `  size: have 2 bytes, want 3`},
		{"T{<b:a:T{T{<b:x:}:m:}:n:}", "T{<b:a:T{T{<B:x:<b:y:}:m:}:n:}",
			`  field "n.m.x": have int8 at 1, want uint8 at 1
  field "n.m.y": have nothing, want int8 at 2`},
	}
	for _, test := range tests {
		have, err := Parse(nativeFormat(test.have))
		if err != nil {
			t.Fatal(err)
		}
		want, err := Parse(nativeFormat(test.want))
		if err != nil {
			t.Fatal(err)
		}
		if got := Diff(have, want); got != test.diff {
			t.Errorf("%s against %s:\n%s\nwant\n%s", test.have, test.want, got, test.diff)
		}
	}
}

func TestDiffIsShort(t *testing.T) {
	format := func(code string) string {
		var b strings.Builder
		for i := range 1000 {
			fmt.Fprintf(&b, "%s:f%d:", code, i)
		}
		return nativeFormat("T{" + b.String() + "}")
	}
	have, err := Parse(format("<i"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := Parse(format("<I"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(Diff(have, want), "\n")
	if last := lines[len(lines)-1]; len(lines) != maxDiff+1 || last != "  and 984 more" {
		t.Errorf("%d lines, the last %q", len(lines), last)
	}
}

// Padding makes no difference between values, and each bit of data does.
func TestSameData(t *testing.T) {
	for format, data := range map[string]string{
		"<q":                              "11111111",
		"(2)<h":                           "1111",
		"(2,2)<B":                         "1111",
		"T{<b:a:7x<q:b:}":                 "1000000011111111",
		"T{<b:a:3x<i:b:}":                 "10001111",
		"(2)T{<b:a:3x<i:b:}":              "1000111110001111",
		"T{<b:a:x(2)T{<h:x:<b:y:x}:b:2x}": "101110111000",
		"(2)T{<h:a:}":                     "1111",
		"T{(3)<c:a:x<h:b:}":               "111011",
	} {
		l, err := Parse(strings.ReplaceAll(format, "<", ByteOrder))
		if err != nil {
			t.Fatal(err)
		}
		a := make([]byte, l.Size)
		if !l.SameData(a, a) || l.Padded() != strings.Contains(data, "0") || len(data) != l.Size {
			t.Errorf("%s: padded is %v, %d bytes", format, l.Padded(), l.Size)
		}
		for i := range a {
			b := slices.Clone(a)
			b[i] = 1
			if same := l.SameData(a, b); same != (data[i] == '0') {
				t.Errorf("%s: byte %d differs, and same is %v", format, i, same)
			}
		}
	}
}
