//go:build linux

package value

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"testing"

	"example.org/shm"
)

func TestParsePath(t *testing.T) {
	for text, want := range map[string]string{
		"": "", ".a": ".a", ".a.b[3].c": ".a.b[3].c", "[0][12]": "[0][12]", `."odd name"[1]`: ".odd name[1]", `."a.b"`: `."a.b"`,
	} {
		p, err := ParsePath(text)
		if err != nil || p.String() != want {
			t.Errorf("%q is %q: %v", text, p, err)
		}
	}
	for _, text := range []string{".", "..a", "[", "[-1]", "[x]", "[1", "a", `."a`, "[1]x"} {
		if p, err := ParsePath(text); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q is %q: %v", text, p, err)
		}
	}
}

type pair struct {
	A    int32
	Name [4]byte `shm:"name,char"`
	Grid [2]struct{ X, Y int16 }
	F    float64
}

// TestParts finds, shows and sets parts of values.
func TestParts(t *testing.T) {
	s, err := shm.Anonymous(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := shm.NewStruct(s, "a.b[1]", pair{A: 1, Name: [4]byte{'x'}, F: math.NaN()}); err != nil {
		t.Fatal(err)
	}
	if _, err := shm.NewMutex(s, "lock"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, text, json string }{
		{"a.b[1].A", "1", "1"},
		{`"a.b[1]".A`, "1", "1"},
		{"a.b[1].name", "x", `"x"`},
		{"a.b[1].Grid[1]", "{X: 0, Y: 0}", `{"X":0,"Y":0}`},
		{"a.b[1].F", "NaN", `"NaN"`},
		{"lock", "", "null"},
	} {
		p, err := Find(s, c.name)
		if err != nil {
			t.Fatal(err)
		}
		v, l, err := p.Load()
		if err != nil || Bare(v, l, "") != c.text || string(JSON(v, l, "")) != c.json {
			t.Errorf("%s is %q, %s: %v", c.name, Bare(v, l, ""), JSON(v, l, ""), err)
		}
		if v == nil {
			continue
		}
		// What JSON says sets the same value.
		from, err := FromJSON(JSON(v, l, ""), v, "")
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		text, err := p.Assignment(v, from)
		if err == nil {
			err = p.Entry.Parse(text)
		}
		if again, _, _ := p.Load(); err != nil || Bare(again, l, "") != c.text {
			t.Errorf("%s set by %s is %q: %v", c.name, text, Bare(again, l, ""), err)
		}
	}
	for _, name := range []string{"nothing", "a", "a.b[1].Nope", "a.b[1].Grid[2]", "a.b[1].A.B", "a.b[1][0]", "lock.x"} {
		p, err := Find(s, name)
		if err == nil {
			_, _, err = p.Load()
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDifferences(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want []Difference
	}{
		{`1`, `1`, nil},
		{`{"x":[1,2]}`, `{"x":[1,3]}`, []Difference{{".x[1]", "2", "3"}}},
		{`{"x":1}`, `{"y":1}`, []Difference{{".x", "1", ""}, {".y", "", "1"}}},
		{`[1]`, `[1,2]`, []Difference{{"", "[1]", "[1,2]"}}},
		{`18446744073709551615`, `18446744073709551614`, []Difference{{"", "18446744073709551615", "18446744073709551614"}}},
	} {
		got, err := Differences(json.RawMessage(c.a), json.RawMessage(c.b))
		if err != nil || len(got) != len(c.want) {
			t.Errorf("%s and %s: %v, %v", c.a, c.b, got, err)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s and %s: %+v, want %+v", c.a, c.b, got[i], c.want[i])
			}
		}
	}
	if _, err := Differences(json.RawMessage(`{`), json.RawMessage(`1`)); err == nil {
		t.Error("half a document has no error")
	}
}

func TestIs(t *testing.T) {
	for _, c := range []struct {
		v    any
		hint string
		text string
		want bool
	}{
		{int32(31), "", "0x1f", true}, {int32(31), "", "31.0", false}, {uint64(7), "", "7", true}, {1.5, "", "1.50", true},
		{math.NaN(), "", "nan", true}, {"text", "", "text", true}, {"text", "", `"text"`, true}, {true, "", "1", true},
		{int64(1500000000), "duration", "1500ms", true}, {[]int32{1, 2}, "", "[1,2]", true}, {[]int32{1, 2}, "", "[1,3]", false},
	} {
		if got := Is(c.v, shm.Layout{}, c.hint, c.text); got != c.want {
			t.Errorf("%v is %q: %v", c.v, c.text, got)
		}
	}
}
