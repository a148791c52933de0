//go:build linux

package shm

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// lookup returns the entry of a name that must be there.
func lookup(t testing.TB, s *Segment, name string) Entry {
	t.Helper()
	e, ok := s.Lookup(name)
	if !ok {
		t.Fatalf("no value %q", name)
	}
	return e
}

// entryStruct has every kind of field.
type entryStruct struct {
	On   bool
	X    int8       `shm:"x"`
	Name [6]byte    `shm:"name,char"`
	Tags [2][3]byte `shm:"tags,char"`
	Grid [2][2]int16
	In   [2]struct {
		Z complex64
		F float32
	}
}

func TestEntry(t *testing.T) {
	name := testName(t)
	s := open(t, name, nil)
	must(NewRawValue(s, "int8", int8(-7)))(t)
	must(NewRawValue(s, "uint8", uint8(200)))(t)
	must(NewValue(s, "int16", int16(-300)))(t)
	must(NewValue(s, "uint16", uint16(math.MaxUint16)))(t)
	must(NewAtomic(s, "int32", int32(math.MinInt32)))(t)
	must(NewAtomic(s, "uint64", uint64(math.MaxUint64)))(t)
	must(NewRawValue(s, "duration", time.Second))(t)
	must(NewValue(s, "float32", float32(0.1)))(t)
	must(NewValue(s, "float64", 1234567.0))(t)
	must(NewRawValue(s, "tiny", 1e-300))(t)
	must(NewRawValue(s, "inf", math.Inf(-1)))(t)
	must(NewRawValue(s, "nan", math.NaN()))(t)
	must(NewRawValue(s, "odd nan", math.Float64frombits(0xfff8000000000000)))(t)
	must(NewValue(s, "complex64", complex64(1-2i)))(t)
	must(NewStruct(s, "complex128", complex(0, math.Inf(1))))(t)
	must(NewRawStruct(s, "odd complex", complex(1, math.Float64frombits(0x7ff8000000000002))))(t)
	must(NewStruct(s, "bool", true))(t)
	must(NewRawStruct(s, "uuid", [4]byte{1, 2, 3, 255}))(t)
	copy(must(NewCharArray(s, "chars", 8))(t).Bytes(), "a\x1b[1m\x00zz")
	copy(must(NewCharArray(s, "full", 2))(t).Bytes(), "a\xff")
	text := must(NewString(s, "text", 20))(t)
	if err := text.Store("say \"hé\"\n"); err != nil {
		t.Fatal(err)
	}
	copy(must(NewRawArray[int32](s, "array", 3))(t).Slice(), []int32{1, -2, 3})
	must(NewArray[float64](s, "locked array", 2))(t).Store(1, 2.5)
	must(NewStruct(s, "struct", entryStruct{
		On: true, X: -1, Name: [6]byte{'a', '"', 'b'}, Tags: [2][3]byte{{'a', 'b', 'c'}, {}}, Grid: [2][2]int16{{1, 2}, {3, 4}},
		In: [2]struct {
			Z complex64
			F float32
		}{{1i, 0.5}, {}},
	}))(t)
	ro := open(t, name, &Options{ReadOnly: true})
	for _, c := range []struct {
		name string
		any  any
		text string
	}{
		{"int8", int8(-7), "-7"},
		{"uint8", uint8(200), "200"},
		{"int16", int16(-300), "-300"},
		{"uint16", uint16(math.MaxUint16), "65535"},
		{"int32", int32(math.MinInt32), "-2147483648"},
		{"uint64", uint64(math.MaxUint64), "18446744073709551615"},
		{"duration", int64(time.Second), "1000000000"},
		{"float32", float32(0.1), "0.1"},
		{"float64", 1234567.0, "1234567"},
		{"tiny", 1e-300, "1e-300"},
		{"inf", math.Inf(-1), "-Inf"},
		{"nan", math.NaN(), "NaN"},
		{"odd nan", math.NaN(), "NaN(0xfff8000000000000)"},
		{"complex64", complex64(1 - 2i), "(1-2i)"},
		{"complex128", complex(0, math.Inf(1)), "(0+Infi)"},
		{"odd complex", complex(1, math.NaN()), "complex(1, NaN(0x7ff8000000000002))"},
		{"bool", true, "true"},
		{"uuid", []uint8{1, 2, 3, 255}, "[1, 2, 3, 255]"},
		{"chars", "a\x1b[1m", `"a\x1b[1m"`},
		{"full", "a\xff", `"a\xff"`},
		{"text", "say \"hé\"\n", `"say \"hé\"\n"`},
		{"array", []int32{1, -2, 3}, "[1, -2, 3]"},
		{"locked array", []float64{0, 2.5}, "[0, 2.5]"},
		{"struct", map[string]any{
			"On": true, "x": int8(-1), "name": `a"b`, "tags": []string{"abc", ""}, "Grid": [][]int16{{1, 2}, {3, 4}},
			"In": []map[string]any{{"Z": complex64(1i), "F": float32(0.5)}, {"Z": complex64(0), "F": float32(0)}},
		}, `{On: true, x: -1, name: "a\"b", tags: ["abc", ""], Grid: [[1, 2], [3, 4]], In: [{Z: (0+1i), F: 0.5}, {Z: (0+0i), F: 0}]}`},
	} {
		for _, s := range []*Segment{s, ro} {
			e := lookup(t, s, c.name)
			if got := e.Text(); got != c.text {
				t.Errorf("%s: %s, want %s", c.name, got, c.text)
			}
			if got := e.Any(); !reflect.DeepEqual(got, c.any) && fmt.Sprintf("%T %v", got, got) != fmt.Sprintf("%T %v", c.any, c.any) {
				t.Errorf("%s: %T %v, want %T %v", c.name, got, got, c.any, c.any)
			}
		}
		if err := lookup(t, ro, c.name).Parse(c.text); !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s, read-only: %v", c.name, err)
		}
		e := lookup(t, s, c.name)
		before := e.load()
		if err := e.Parse(" " + c.text + "\n"); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := e.Parse(c.text); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if after := e.load(); !bytes.Equal(after, before) && c.name != "text" && c.name != "struct" || e.Text() != c.text {
			t.Errorf("%s: %x has become %x, %s", c.name, before, after, e.Text())
		}
		if e.Size != int64(len(before)) || e.Offset < headerSize || e.Pid == 0 {
			t.Errorf("%+v", e)
		}
	}
}

func TestEntryParse(t *testing.T) {
	s := open(t, testName(t), nil)
	n := must(NewRawValue(s, "int8", int8(1)))(t)
	u := must(NewAtomic(s, "uint32", uint32(1)))(t)
	l := must(NewValue(s, "locked", uint16(1)))(t)
	f := must(NewValue(s, "float32", float32(1)))(t)
	c := must(NewValue(s, "complex64", complex64(1)))(t)
	b := must(NewStruct(s, "bool", false))(t)
	str := must(NewString(s, "text", 6))(t)
	chars := must(NewCharArray(s, "chars", 6))(t)
	a := must(NewArray[int16](s, "array", 3))(t)
	v := must(NewStruct(s, "struct", entryStruct{X: 1}))(t)
	r := must(NewRawStruct(s, "raw", entryStruct{X: 1}))(t)
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
	must(NewMutex(s, "lock"))(t)
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
		{"text", "seven77", ErrTooLong, ""},
		{"text", `"seven77"`, ErrTooLong, ""},
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
		{"struct", `{x: 5, tags: ["a", "four"]}`, ErrTooLong, "tags[1]"},
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
	// The value is the segment's; the entry outlives it, but changes nothing then.
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
	if err := e.Parse("1"); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// TestEntryWakesAndExcludes: Parse is a Store like any other.
func TestEntryWakesAndExcludes(t *testing.T) {
	name := testName(t)
	s := open(t, name, nil)
	n := must(NewValue(s, "n", int64(0)))(t)
	v := must(NewStruct(s, "v", grow1{}))(t)
	old := lookup(t, s, "v")
	must(NewStruct(s, "v", grow2{}))(t).Store(grow2{1, 2, 3, 4})
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := n.Await(t.Context(), func(n int64) bool { return n == 5 }); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "it is awaited", func() bool { return n.mu.change.word.Load()&awaited != 0 })
	if err := lookup(t, s, "n").Parse("5"); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	const each = 3000
	wg.Go(func() {
		for range each {
			v.Update(func(g *grow1) { g.A++ })
		}
	})
	wg.Go(func() {
		for i := range each {
			if err := old.Parse(fmt.Sprintf("{B: %d}", i%100)); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if got := must(NewStruct(s, "v", grow2{}))(t).Load(); got != (grow2{1 + each, (each - 1) % 100, 3, 4}) {
		t.Errorf("%+v", got)
	}
}

// TestEntryOfAStructThatOthersGrew: whoever made it grow may have died before it
// told the older writers.
func TestEntryOfAStructThatOthersGrew(t *testing.T) {
	s := open(t, testName(t), nil)
	old := must(NewStruct(s, "v", grow1{}))(t)
	extent := old.s.cell.extent.Load()
	grown := must(NewStruct(s, "v", grow2{}))(t)
	old.s.cell.extent.Store(extent)
	if err := lookup(t, s, "v").Parse("{D: 4}"); err != nil {
		t.Fatal(err)
	}
	old.Store(grow1{1, 2})
	if got := grown.Load(); got != (grow2{A: 1, B: 2, D: 4}) {
		t.Errorf("%+v", got)
	}
}

// TestEveryChangeIsTold looks at the word on which those who await a change
// sleep: a time-out would wake them as well, only later.
func TestEveryChangeIsTold(t *testing.T) {
	name, n := locked(t)
	s := open(t, name, nil)
	v := must(NewStruct(s, "struct", grow1{}))(t)
	text := must(NewString(s, "text", 8))(t)
	a := must(NewArray[int32](s, "array", 2))(t)
	other := must(NewRawValue[int8](s, "other", 0))(t)
	sharing := Synchronized(other, n.Mutex())
	names := &s.m.Load().names
	p := startAgent(t, name)
	doomed := startAgent(t, name)
	none := func(f func()) func() error { return func() error { f(); return nil } }
	under := func(lock func()) func() error {
		return none(func() { lock(); n.Raw().Set(1); n.Mutex().Unlock() })
	}
	for _, c := range []struct {
		what   string
		change *changeWord
		do     func() error
	}{
		{"Struct.Store", v.s.mu.change, none(func() { v.Store(grow1{A: 1}) })},
		{"Struct.Update", v.s.mu.change, none(func() { v.Update(func(p *grow1) { p.A++ }) })},
		{"String.Store", text.s.mu.change, func() error { return text.Store("x") }},
		{"Array.Store", a.mu.change, none(func() { a.Store(0, 1) })},
		{"Array.Add", a.mu.change, none(func() { a.Add(0, 1) })},
		{"Array.WithLock", a.mu.change, none(func() { a.WithLock(func(s []int32) { s[1] = 1 }) })},
		{"Parse, struct", v.s.mu.change, func() error { return lookup(t, s, "struct").Parse("{B: 1}") }},
		{"Parse, text", text.s.mu.change, func() error { return lookup(t, s, "text").Parse("y") }},
		{"Parse, array", a.mu.change, func() error { return lookup(t, s, "array").Parse("[1, 2]") }},
		{"Value.Store", n.mu.change, none(func() { n.Store(1) })},
		{"Value.Swap", n.mu.change, none(func() { n.Swap(2) })},
		{"Value.CompareAndSwap", n.mu.change, none(func() { n.CompareAndSwap(2, 3) })},
		{"Value.Add", n.mu.change, none(func() { n.Add(1) })},
		{"Value.Update", n.mu.change, none(func() { n.Update(func(x int64) int64 { return x + 1 }) })},
		{"Parse, number", n.mu.change, func() error { return lookup(t, s, "n").Parse("7") }},
		{"raw under Lock", n.mu.change, under(n.Mutex().Lock)},
		{"raw under TryLock", n.mu.change, under(func() { n.Mutex().TryLock() })},
		{"raw under LockContext", n.mu.change, under(func() { _ = n.Mutex().LockContext(t.Context()) })},
		{"a number that shares the lock", n.mu.change, none(func() { sharing.Store(1) })},
		{"another process's Add", n.mu.change, none(func() { p.must("add 1", "added") })},
		{"another process, raw", n.mu.change, none(func() { p.must("lock", "locked"); p.must("set 9", "set"); p.must("unlock", "unlocked") })},
		{"a takeover", n.mu.change, none(func() { doomed.must("lock", "locked"); doomed.kill(); n.Mutex().Lock() })},
		{"a new name", names, func() error { return second(NewMutex(s, "mutex")) }},
		{"a longer type", names, func() error { return second(NewStruct(s, "struct", grow2{})) }},
	} {
		before := c.change.announce()
		if err := c.do(); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		if c.change.word.Load() == before {
			t.Errorf("%s tells nobody", c.what)
		}
	}
}

// TestEntryInAProcessWithoutLocks: reading needs no lease, and a lock that is
// first taken by Parse has one.
func TestEntryInAProcessWithoutLocks(t *testing.T) {
	name := testName(t)
	p := start(t, boardMaker, name)
	p.expect("made")
	s := open(t, name, nil)
	e := lookup(t, s, "Small")
	if got := e.Any().(map[string]any)["N"]; got != uint64(0) || s.m.Load().id.Load() != 0 {
		t.Fatalf("%v, id %d", got, s.m.Load().id.Load())
	}
	if err := e.Parse("{N: 9}"); err != nil {
		t.Fatal(err)
	}
	p.say("")
	p.expect("9 true")
	p.wait()
	if id := s.m.Load().id.Load(); id == 0 || must(NewStruct(s, "Small", published{}))(t).Mutex().id != id {
		t.Error("the lock was taken under no id")
	}
}

var boardMaker = helper("boardMaker", func(args []string) error {
	b, err := attachBoard(args[0], nil)
	if err != nil {
		return err
	}
	fmt.Println("made")
	if _, err := fmt.Scanln(); err != nil {
		return err
	}
	fmt.Println(b.Small.Load().N, b.Small.Mutex().TryLock())
	return nil
})

func TestLockInfo(t *testing.T) {
	name := testName(t)
	s := open(t, name, nil)
	a := must(NewArray[int32](s, "a", 3))(t)
	must(NewRawValue(s, "raw", int8(0)))(t)
	must(NewMutex(s, "mutex"))(t)
	if lock, ok := lookup(t, s, "raw").Lock(); ok || lock != (LockInfo{}) {
		t.Errorf("a raw value has a lock: %v", lock)
	}
	e, mutex := lookup(t, s, "a"), lookup(t, s, "mutex")
	if e.Layout.Format == "" || mutex.Layout.Format != "" || mutex.Any() != nil || mutex.Size != 0 {
		t.Errorf("%+v, %+v", e, mutex)
	}
	check := func(e Entry, want LockInfo, text string) {
		t.Helper()
		got, ok := e.Lock()
		got.ID = 0
		if !ok || got != want || !strings.Contains(got.String(), text) {
			t.Errorf("%+v, want %+v; %s", got, want, got)
		}
	}
	check(mutex, LockInfo{}, "free")
	if mutex.Text() != "free" {
		t.Error(mutex.Text())
	}
	p := start(t, abandoner, name)
	p.expect("inside")
	pid := p.cmd.Process.Pid
	held := LockInfo{Held: true, Pid: pid, Program: program, Alive: true}
	check(e, held, fmt.Sprintf("held by %q (pid %d)", program, pid))
	ro := lookup(t, open(t, name, &Options{ReadOnly: true}), "a")
	check(ro, held, "held by")
	p.kill()
	held.Alive = false
	check(e, held, "dead")
	check(ro, held, "dead")
	a.Mutex().Lock()
	own, _ := e.Lock()
	if !own.Held || !own.Alive || !own.Abandoned || own.Takeovers != 1 || !strings.Contains(own.String(), "abandoned, takeovers: 1") {
		t.Errorf("%+v: %s", own, own)
	}
	a.Mutex().Abandoned()
	a.Mutex().Unlock()
	if l, _ := e.Lock(); l.Held || l.Abandoned || l.Takeovers != 1 {
		t.Errorf("%+v", l)
	}
	// What a broken peer writes is quoted, and an id that the table has forgotten
	// has no name.
	m := s.m.Load()
	cell := at[lockCell](m, mutex.record.data)
	cell.word.Store(m.id.Load() | wordL)
	m.table[m.id.Load()%tableLen].program = [48]byte{0x1b, '[', 'J'}
	if text := mutex.Text(); !strings.Contains(text, `"\x1b[J"`) || !strings.Contains(text, "somebody waits") {
		t.Errorf("%q", text)
	}
	cell.word.Store(12345)
	if text := mutex.Text(); text != "held by id 12345, which is dead" {
		t.Errorf("%q", text)
	}
	cell.word.Store(wordW)
	if text := mutex.Text(); !strings.HasPrefix(text, "free, reserved") {
		t.Errorf("%q", text)
	}
	cell.word.Store(0)
}

// FuzzText: what any memory of any layout reads as is read back as the same.
func FuzzText(f *testing.F) {
	for _, format := range []string{"<b", "(3)<d", "(2,3)<Zd", "T{<?:a:3x(5)<c:b,c:(2)T{<f:f:<Zf:]:}:\"in\":}", "(4)<c", "(2,4)<c", "<c", "T{8x}", "(2)T{4x}", "<?", "(2)<?"} {
		f.Add(format, []byte("\x00\xff\x7f\xf0\x00\x00\xf8\x7f\"\\\x1b\xc3\xa9\x00\xff\xff\xff\xff"))
	}
	f.Fuzz(func(t *testing.T, format string, memory []byte) {
		l, err := parseLayout(format)
		if err != nil || l.Size > 1<<12 {
			return
		}
		if byteOrder != "<" {
			t.Skip("the formats are little-endian")
		}
		b := make([]byte, l.Size)
		for i := range b {
			if len(memory) > 0 {
				b[i] = memory[i%len(memory)]
			}
		}
		text := string(appendText(nil, l, b))
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Fatalf("%q", text)
		}
		patches, err := parseText(l, text)
		if err != nil {
			t.Fatalf("%s of %s: %v", text, format, err)
		}
		back := make([]byte, l.Size)
		rand.NewChaCha8([32]byte{}).Read(back)
		for _, p := range patches {
			copy(back[p.off:p.off+len(p.b)], p.b)
		}
		if again := string(appendText(nil, l, back)); again != text {
			t.Fatalf("%s has become %s", text, again)
		}
		if !reflect.DeepEqual(fmt.Sprint(goValue(l, b)), fmt.Sprint(goValue(l, back))) {
			t.Fatalf("%v has become %v", goValue(l, b), goValue(l, back))
		}
		// Nor does a text that means nothing do harm.
		if patches, err := parseText(l, string(memory)); err == nil {
			for _, p := range patches {
				if p.off < 0 || p.off+len(p.b) > l.Size {
					t.Fatalf("%q writes %d bytes at %d of %d", memory, len(p.b), p.off, l.Size)
				}
			}
		}
	})
}
