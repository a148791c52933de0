//go:build linux

package value

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"strconv"
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

// What Bare and JSON write sets the same value, whatever is in it.
func TestTextsRoundTrip(t *testing.T) {
	s, err := shm.Anonymous(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var all struct {
		Text     shm.String              `shm:"text,len=16"`
		Chars    shm.CharArray           `shm:"chars,len=16"`
		Struct   shm.Struct[pair]        `shm:"struct"`
		Tag      shm.RawStruct[[16]byte] `shm:"tag,hint=text"`
		Float    shm.Value[float32]      `shm:"float"`
		Complex  shm.RawValue[complex64] `shm:"complex"`
		Floats   shm.RawArray[float64]   `shm:"floats,len=2"`
		Duration shm.Value[int64]        `shm:"duration,hint=duration"`
		Delays   shm.Array[int64]        `shm:"delays,len=2,hint=duration"`
	}
	if err := shm.Bind(s, &all); err != nil {
		t.Fatal(err)
	}
	all.Float.Store(float32(math.Inf(-1)))
	all.Complex.Set(complex(3, float32(math.NaN())))
	all.Floats.Set(1, math.NaN())
	all.Duration.Store(15e8)
	all.Delays.Store(1, 15e8)
	check := func(name, what string) {
		t.Helper()
		p, err := Find(s, name)
		if err != nil {
			t.Fatal(err)
		}
		v, l, err := p.Load()
		if err != nil {
			t.Fatal(err)
		}
		before := p.Entry.Text()
		for _, to := range []string{Bare(v, l, p.Entry.Hint), string(JSON(v, l, p.Entry.Hint))} {
			if !Is(v, l, p.Entry.Hint, to) {
				t.Errorf("%s of %s: %s is not the value", name, what, to)
			}
			text, err := p.Assignment(v, to)
			if err == nil {
				err = p.Entry.Parse(text)
			}
			if after := p.Entry.Text(); err != nil || after != before {
				t.Errorf("%s of %s set to %s is %s, was %s: %v", name, what, to, after, before, err)
			}
		}
	}
	for _, text := range []string{"", "hello", `"abc"`, "`abc`", `"open`, ` "x"`, "\x1b[", "[hello]", "[1, 2]", "[255]", "[0: 65]", "[]", "\xff\x00"[:1], "{x: 1}", "null", "1.5", "a/b\\"} {
		if err := all.Text.Store(text); err != nil {
			t.Fatal(err)
		}
		if err := all.Chars.SetValue(text); err != nil {
			t.Fatal(err)
		}
		var tag [16]byte
		copy(tag[:], text)
		all.Tag.Set(tag)
		var x pair
		copy(x.Name[:], text)
		all.Struct.Store(x)
		for _, name := range []string{"text", "chars", "tag", "struct", "struct.name"} {
			check(name, strconv.Quote(text))
		}
	}
	for _, name := range []string{"float", "complex", "floats", "floats[1]", "duration", "delays", "delays[1]"} {
		check(name, "a number")
	}
	for _, c := range []struct{ name, to, want string }{
		{"tag", `"hello"`, `"hello"`},
		{"tag", `"\x1b["`, `"\x1b["`},
		{"tag", "[hello]", `"[hello]"`},
		{"text", `"a\/\ud83d\ude00"`, `"a/😀"`},
		{"text", "[255]", `"\xff"`},
		{"text", "[1]", `"[1]"`},
		{"struct.name", "[255]", `"\xff"`},
		{"delays", "[0: 1m, 1: 2s]", "[60000000000, 2000000000]"},
		{"delays", "[0:3m]", "[180000000000, 2000000000]"},
	} {
		p, err := Find(s, c.name)
		if err != nil {
			t.Fatal(err)
		}
		v, _, err := p.Load()
		if err != nil {
			t.Fatal(err)
		}
		text, err := p.Assignment(v, c.to)
		if err == nil {
			err = p.Entry.Parse(text)
		}
		if err != nil {
			t.Errorf("%s=%s: %v", c.name, c.to, err)
			continue
		}
		v, l, err := p.Load()
		if err != nil {
			t.Fatal(err)
		}
		got := Text(v, l)
		if p.Entry.Hint == "text" {
			got = Human(v, l, "text", "")
		}
		if got != c.want {
			t.Errorf("%s=%s is %s, want %s", c.name, c.to, got, c.want)
		}
	}
	for _, to := range []string{`"open`, "`open", `"too long for the room"`} {
		p, _ := Find(s, "tag")
		v, _, _ := p.Load()
		if text, err := p.Assignment(v, to); err == nil {
			t.Errorf("tag=%s has no error, and is %s", to, text)
		}
	}
}

// Many numbers are shown as one is: with their unit, durations and times as such. What Bare
// writes sets the same numbers.
func TestArraysForPeople(t *testing.T) {
	s, err := shm.Anonymous(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var b struct {
		Lengths shm.Array[int64]        `shm:"lengths,len=2,unit=jobs"`
		Sizes   shm.AtomicArray[uint64] `shm:"sizes,len=2,unit=bytes"`
		Delays  shm.RawArray[int64]     `shm:"delays,len=2,hint=duration,unit=ns"`
		Starts  shm.Array[int64]        `shm:"starts,len=2,hint=time"`
		Points  shm.Table[struct {
			X int8
		}] `shm:"points,len=1,unit=mm"`
		Grid  shm.RawStruct[[2][2]int64] `shm:"grid,hint=duration"`
		Small shm.Array[int32]           `shm:"small,len=1,hint=duration"`
		Label shm.String                 `shm:"label,len=8,unit=\x1b"`
	}
	if err := shm.Bind(s, &b); err != nil {
		t.Fatal(err)
	}
	b.Lengths.Store(0, 2000)
	b.Sizes.At(1).Store(3 << 20)
	b.Delays.Set(0, 15e8)
	b.Starts.Store(1, 1)
	b.Grid.Set([2][2]int64{{1, 2}, {3e9, -4e9}})
	for _, c := range [][3]string{ // name, Human, Bare
		{"lengths", "[2000, 0] jobs", "[2000, 0]"},
		{"sizes", "[0 bytes, 3.0 MiB]", "[0, 3145728]"},
		{"delays", "[1.5s, 0s]", "[1.5s, 0s]"},
		{"starts", "[1970-01-01T00:00:00Z, 1970-01-01T00:00:00.000000001Z]", "[1970-01-01T00:00:00Z, 1970-01-01T00:00:00.000000001Z]"},
		{"points", "[{X: 0}] mm", "[{X: 0}]"},
		{"grid", "[[1ns, 2ns], [3s, -4s]]", "[[1ns, 2ns], [3s, -4s]]"},
		{"small", "[0s]", "[0]"},
		{"label", `"" "\x1b"`, ""},
	} {
		p, err := Find(s, c[0])
		if err != nil {
			t.Fatal(err)
		}
		v, l, err := p.Load()
		if err != nil {
			t.Fatal(err)
		}
		if human, bare := Human(v, l, p.Entry.Hint, p.Entry.Unit), Bare(v, l, p.Entry.Hint); human != c[1] || bare != c[2] {
			t.Errorf("%s is %s, and bare %s; want %s and %s", c[0], human, bare, c[1], c[2])
		}
		text, err := p.Assignment(v, c[2])
		if err == nil {
			err = p.Entry.Parse(text)
		}
		if again, _, _ := p.Load(); err != nil || Bare(again, l, p.Entry.Hint) != c[2] || !Is(v, l, p.Entry.Hint, c[2]) {
			t.Errorf("%s set by %s is %s: %v", c[0], c[2], Text(again, l), err)
		}
	}
}
