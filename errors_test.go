package shm

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestAccessString(t *testing.T) {
	want := "access(0) raw atomic locked published access(5)"
	var got []string
	for a := Access(0); a <= 5; a++ {
		got = append(got, a.String())
	}
	if s := strings.Join(got, " "); s != want {
		t.Errorf("%s, want %s", s, want)
	}
}

func TestTypeError(t *testing.T) {
	tests := []struct {
		err  error
		want string
	}{
		{errOf(LayoutOf[string]()), "shm: string: string points into the memory of one process; use [N]byte with the tag's option char"},
		{errOf(LayoutOf[time.Time]()), "shm: time.Time.loc: *time.Location points into the memory of one process"},
		{errOf(LayoutOf[[2]time.Time]()), "shm: [2]time.Time[].loc: *time.Location points into the memory of one process"},
		{errOf(LayoutOf[struct{ A, B [2]int }]()), "shm: A[]: int differs in size between machines; use 32 or 64 bits"},
		{errOf(LayoutOf[struct{}]()), "shm: struct {}: struct {} has no size"},
		{&TypeError{Field: "A", Reason: "why"}, "shm: A: why"},
	}
	for _, test := range tests {
		if got := test.err.Error(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

func errOf(_ Layout, err error) error { return err }

func TestLayoutError(t *testing.T) {
	type v1 struct {
		N     int32
		Pos   xy
		Label [16]byte `shm:",char"`
	}
	type v2 struct {
		N     int32
		Pos   struct{ X, Z float32 }
		Label [16]byte `shm:",char"`
	}
	chars, err := ParseLayout(nativeFormat("<c"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		err  LayoutError
		want string
	}{
		{
			LayoutError{Name: "temp", Have: mustLayout[float64](t), HaveLen: 4, HaveAccess: AccessRaw,
				Want: mustLayout[int32](t), WantAccess: AccessLocked, Pid: 77, Program: "sensor"},
			`shm: value "temp": is raw [4]float64, made by "sensor" (pid 77); wanted locked int32`,
		}, {
			LayoutError{Name: "host", Have: chars, HaveLen: 64, HaveAccess: AccessRaw,
				Want: chars, WantLen: 32, WantAccess: AccessPublished},
			`shm: value "host": is raw char[64]; wanted published char[32]`,
		}, {
			LayoutError{Name: "lock", HaveAccess: AccessLocked, Want: mustLayout[[2][3]int8](t), WantLen: 5, WantAccess: AccessLocked},
			`shm: value "lock": is mutex; wanted locked [5][2][3]int8`,
		}, {
			LayoutError{Name: "id", Have: mustLayout[[16]byte](t), HaveAccess: AccessRaw,
				Want: mustLayout[byte](t), WantLen: 16, WantAccess: AccessRaw},
			`shm: value "id": is raw [16]uint8 as one value; wanted raw [16]uint8 as 16 elements`,
		}, {
			LayoutError{Name: "\x1b[2J", Have: mustLayout[bool](t), HaveAccess: AccessPublished,
				Want: mustLayout[uint32](t), WantAccess: AccessAtomic, Pid: 1, Program: "\x07"},
			`shm: value "\x1b[2J": is published bool, made by "\a" (pid 1); wanted atomic uint32`,
		},
	}
	if wideAlign {
		tests = append(tests, struct {
			err  LayoutError
			want string
		}{
			LayoutError{Name: "state", Have: mustLayout[v1](t), HaveAccess: AccessPublished,
				Want: mustLayout[v2](t), WantAccess: AccessPublished, Pid: 9, Program: "old"},
			`shm: value "state": is published struct{...} of 40 bytes, made by "old" (pid 9); wanted published struct{...} of 28 bytes
  field "Pos": have struct{...} at 8, want struct{...} at 4
  field "Pos.X": have float64 at 8, want float32 at 4
  field "Pos.Y": have float64 at 16, want nothing
  field "Pos.Z": have nothing, want float32 at 8
  field "Label": have char[16] at 24, want char[16] at 12`,
		})
	}
	for _, test := range tests {
		if got := test.err.Error(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
	wrapped := fmt.Errorf("open: %w", &tests[0].err)
	if found := (*LayoutError)(nil); !errors.As(wrapped, &found) || found.Name != "temp" {
		t.Errorf("errors.As found %v", found)
	}
}

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
		have, err := ParseLayout(nativeFormat(test.have))
		if err != nil {
			t.Fatal(err)
		}
		want, err := ParseLayout(nativeFormat(test.want))
		if err != nil {
			t.Fatal(err)
		}
		if got := diff(have, want); got != test.diff {
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
	have, err := ParseLayout(format("<i"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := ParseLayout(format("<I"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(diff(have, want), "\n")
	if last := lines[len(lines)-1]; len(lines) != maxDiff+1 || last != "  and 984 more" {
		t.Errorf("%d lines, the last %q", len(lines), last)
	}
}
