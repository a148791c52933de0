//go:build linux

package shm_test

import (
	"errors"
	"io/fs"
	"math"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

func TestEntryParse(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	n := shmtest.Must(shm.NewRawValue(s, "int8", int8(1)))(t)
	u := shmtest.Must(shm.NewAtomic(s, "uint32", uint32(1)))(t)
	l := shmtest.Must(shm.NewValue(s, "locked", uint16(1)))(t)
	f := shmtest.Must(shm.NewValue(s, "float32", float32(1)))(t)
	c := shmtest.Must(shm.NewValue(s, "complex64", complex64(1)))(t)
	b := shmtest.Must(shm.NewStruct(s, "bool", false))(t)
	str := shmtest.Must(shm.NewString(s, "text", 6))(t)
	chars := shmtest.Must(shm.NewCharArray(s, "chars", 6))(t)
	a := shmtest.Must(shm.NewArray[int16](s, "array", 3))(t)
	v := shmtest.Must(shm.NewStruct(s, "struct", entryStruct{X: 1}))(t)
	r := shmtest.Must(shm.NewRawStruct(s, "raw", entryStruct{X: 1}))(t)
	for _, ok := range []struct {
		name, text string
		get        func() any
		want       any
	}{
		{"int8", "-128", func() any { return n.Get() }, int8(-128)},
		{"int8", " 0x1f\t", func() any { return n.Get() }, int8(31)},
		{"int8", "010", func() any { return n.Get() }, int8(10)},
		{"int8", "+0b11", func() any { return n.Get() }, int8(3)},
		{"uint32", "0xffff_ffff", func() any { return u.Load() }, uint32(math.MaxUint32)},
		{"locked", "65535", func() any { return l.Load() }, uint16(math.MaxUint16)},
		{"float32", "1e3", func() any { return f.Load() }, float32(1000)},
		{"float32", "-inf", func() any { return f.Load() }, float32(math.Inf(-1))},
		{"complex64", "1+2i", func() any { return c.Load() }, complex64(1 + 2i)},
		{"complex64", "complex(3, -4)", func() any { return c.Load() }, complex64(3 - 4i)},
		{"bool", "1", func() any { return b.Load() }, true},
		{"bool", "False", func() any { return b.Load() }, false},
		{"text", "plain ", func() any { return str.Load() }, "plain "},
		{"text", `"\u00e9\tx"`, func() any { return str.Load() }, "é\tx"},
		{"text", "`a\\`", func() any { return str.Load() }, `a\`},
		{"text", "", func() any { return str.Load() }, ""},
		{"chars", "sixsix", func() any { return string(chars.Raw()) }, "sixsix"},
		{"chars", "ab", func() any { return string(chars.Raw()) }, "ab\x00six"},
		{"array", "[ 1,2 , -3]", func() any { return []int16{a.Load(0), a.Load(1), a.Load(2)} }, []int16{1, 2, -3}},
		{"struct", "{}", func() any { return v.Load() }, entryStruct{X: 1}},
		{"struct", `{x: 2, On: true}`, func() any { return v.Load() }, entryStruct{X: 2, On: true}},
		{"struct", `{"x" : 3, "name": "abc", "Grid": [[1, 2], [3, 4]]}`, func() any { return v.Load() },
			entryStruct{X: 3, On: true, Name: [6]byte{'a', 'b', 'c'}, Grid: [2][2]int16{{1, 2}, {3, 4}}}},
		{"raw", `{x: 4, tags: ["x", "yyy"]}`, func() any { return r.Get() }, entryStruct{X: 4, Tags: [2][3]byte{{'x'}, {'y', 'y', 'y'}}}},
	} {
		if err := lookup(t, s, ok.name).Parse(ok.text); err != nil || !reflect.DeepEqual(ok.get(), ok.want) {
			t.Errorf("%s %q: %v, %v, want %v", ok.name, ok.text, err, ok.get(), ok.want)
		}
	}
	shmtest.Must(shm.NewMutex(s, "lock"))(t)
	for _, bad := range []struct {
		name, text string
		want       error
		says       string
	}{
		{"int8", "300", strconv.ErrRange, "300"},
		{"int8", "-129", strconv.ErrRange, "int8"},
		{"int8", "", fs.ErrInvalid, ""},
		{"int8", "1.0", fs.ErrInvalid, ""},
		{"int8", "1 2", fs.ErrInvalid, `"2"`},
		{"int8", "1]", fs.ErrInvalid, ""},
		{"int8", "[1]", fs.ErrInvalid, ""},
		{"int8", "true", fs.ErrInvalid, ""},
		{"uint32", "-1", fs.ErrInvalid, ""},
		{"uint32", "4294967296", strconv.ErrRange, ""},
		{"float32", "1e39", strconv.ErrRange, ""},
		{"float32", "NaN(0x7f800000)", fs.ErrInvalid, ""}, // an infinity
		{"float32", "NaN(0x7fc00001", fs.ErrInvalid, ""},
		{"complex64", "complex(1)", fs.ErrInvalid, ""},
		{"complex64", "complex(1, 2, 3)", fs.ErrInvalid, ""},
		{"complex64", "1e39i", strconv.ErrRange, ""},
		{"bool", "2", fs.ErrInvalid, ""},
		{"text", "seven77", shm.ErrTooLong, ""},
		{"text", `"seven77"`, shm.ErrTooLong, ""},
		{"text", "a\x00", fs.ErrInvalid, "NUL"},
		{"chars", `"a\x00"`, fs.ErrInvalid, "NUL"},
		{"text", `"open`, fs.ErrInvalid, ""},
		{"text", `"a"b`, fs.ErrInvalid, ""},
		{"array", "[1, 2]", fs.ErrInvalid, "3 elements"},
		{"array", "[1, 2, 3, 4]", fs.ErrInvalid, ""},
		{"array", "[1, 2, x]", fs.ErrInvalid, "[2]"},
		{"array", "1, 2, 3", fs.ErrInvalid, ""},
		{"struct", "{x: 1, x: 1}", fs.ErrInvalid, "twice"},
		{"struct", "{y: 1}", fs.ErrInvalid, `"y"`},
		{"struct", "{x 1}", fs.ErrInvalid, ""},
		{"struct", "{x: 5, On: 7}", fs.ErrInvalid, "On"},
		{"struct", "{x: 5", fs.ErrInvalid, ""},
		{"struct", "{x: 5} ;", fs.ErrInvalid, ""},
		{"struct", "{x: 5, name: sixsix}", fs.ErrInvalid, "name"},
		{"struct", `{x: 5, tags: ["a", "four"]}`, shm.ErrTooLong, "tags[1]"},
		{"struct", `{x: 5, In: [{F: 1}, {F: q}]}`, fs.ErrInvalid, "In[1].F"},
		{"raw", `{x: 5, Grid: [[1, 2], [3]]}`, fs.ErrInvalid, "Grid[1]"},
		{"lock", "free", fs.ErrInvalid, ""},
	} {
		e := lookup(t, s, bad.name)
		before := e.Text()
		if err := e.Parse(bad.text); !errors.Is(err, bad.want) || !strings.Contains(err.Error(), bad.name) || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%s %q: %v", bad.name, bad.text, err)
		}
		if after := e.Text(); after != before {
			t.Errorf("%s: a failed Parse(%q) made %s of %s", bad.name, bad.text, after, before)
		}
	}
	// After Close an Entry still reads the value, but does not change it.
	e, arr := lookup(t, s, "int8"), lookup(t, s, "array")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		runtime.GC()
		if e.Text() != "3" || arr.Text() != "[1, 2, -3]" {
			t.Error(e.Text(), arr.Text())
		}
	}
	if err := e.Parse("1"); !errors.Is(err, shm.ErrClosed) {
		t.Error(err)
	}
}
