package layout

import (
	"fmt"
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
