//go:build linux

package shm_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// lookup returns the entry of a name, or ends the test if there is none.
func lookup(t testing.TB, s *shm.Segment, name string) shm.Entry {
	t.Helper()
	e, ok := s.Lookup(name)
	if !ok {
		t.Fatalf("no value %q", name)
	}
	return e
}

func TestEntriesEndWhenTold(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	nameValues(t, s, 0, 10)
	seen := 0
	for range s.Entries() {
		nameValues(t, s, 10, 20) // the list is as of the call
		if seen++; seen == 3 {
			break
		}
	}
	if got := len(slices.Collect(s.Entries())); got != 20 || seen != 3 {
		t.Fatalf("%d, then %d", seen, got)
	}
}

// entryStruct has a field of each kind.
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
	name := shmtest.Name(t)
	s := open(t, name, nil)
	shmtest.Must(shm.NewRawValue(s, "int8", int8(-7)))(t)
	shmtest.Must(shm.NewRawValue(s, "uint8", uint8(200)))(t)
	shmtest.Must(shm.NewValue(s, "int16", int16(-300)))(t)
	shmtest.Must(shm.NewValue(s, "uint16", uint16(math.MaxUint16)))(t)
	shmtest.Must(shm.NewAtomic(s, "int32", int32(math.MinInt32)))(t)
	shmtest.Must(shm.NewAtomic(s, "uint64", uint64(math.MaxUint64)))(t)
	shmtest.Must(shm.NewRawValue(s, "duration", time.Second))(t)
	shmtest.Must(shm.NewValue(s, "float32", float32(0.1)))(t)
	shmtest.Must(shm.NewValue(s, "float64", 1234567.0))(t)
	shmtest.Must(shm.NewRawValue(s, "tiny", 1e-300))(t)
	shmtest.Must(shm.NewRawValue(s, "inf", math.Inf(-1)))(t)
	shmtest.Must(shm.NewRawValue(s, "nan", math.NaN()))(t)
	shmtest.Must(shm.NewRawValue(s, "odd nan", math.Float64frombits(0xfff8000000000000)))(t)
	shmtest.Must(shm.NewValue(s, "complex64", complex64(1-2i)))(t)
	shmtest.Must(shm.NewStruct(s, "complex128", complex(0, math.Inf(1))))(t)
	shmtest.Must(shm.NewRawStruct(s, "odd complex", complex(1, math.Float64frombits(0x7ff8000000000002))))(t)
	shmtest.Must(shm.NewStruct(s, "bool", true))(t)
	shmtest.Must(shm.NewRawStruct(s, "uuid", [4]byte{1, 2, 3, 255}))(t)
	copy(shmtest.Must(shm.NewCharArray(s, "chars", 8))(t).Bytes(), "a\x1b[1m\x00zz")
	copy(shmtest.Must(shm.NewCharArray(s, "full", 2))(t).Bytes(), "a\xff")
	text := shmtest.Must(shm.NewString(s, "text", 20))(t)
	if err := text.Store("say \"hé\"\n"); err != nil {
		t.Fatal(err)
	}
	copy(shmtest.Must(shm.NewRawArray[int32](s, "array", 3))(t).Slice(), []int32{1, -2, 3})
	shmtest.Must(shm.NewArray[float64](s, "locked array", 2))(t).Store(1, 2.5)
	shmtest.Must(shm.NewStruct(s, "struct", entryStruct{
		On: true, X: -1, Name: [6]byte{'a', '"', 'b'}, Tags: [2][3]byte{{'a', 'b', 'c'}, {}}, Grid: [2][2]int16{{1, 2}, {3, 4}},
		In: [2]struct {
			Z complex64
			F float32
		}{{1i, 0.5}, {}},
	}))(t)
	ro := open(t, name, &shm.Options{ReadOnly: true})
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
		for _, s := range []*shm.Segment{s, ro} {
			e := lookup(t, s, c.name)
			if got := e.Text(); got != c.text {
				t.Errorf("%s: %s, want %s", c.name, got, c.text)
			}
			if got := e.Any(); !reflect.DeepEqual(got, c.any) && fmt.Sprintf("%T %v", got, got) != fmt.Sprintf("%T %v", c.any, c.any) {
				t.Errorf("%s: %T %v, want %T %v", c.name, got, got, c.any, c.any)
			}
		}
		if err := lookup(t, ro, c.name).Parse(c.text); !errors.Is(err, shm.ErrReadOnly) || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s, read-only: %v", c.name, err)
		}
		e := lookup(t, s, c.name)
		before := e.Shown()
		if err := e.Parse(" " + c.text + "\n"); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := e.Parse(c.text); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if after := e.Shown(); !bytes.Equal(after, before) && c.name != "text" && c.name != "struct" || e.Text() != c.text {
			t.Errorf("%s: %x has become %x, %s", c.name, before, after, e.Text())
		}
		if e.Size != int64(len(before)) || e.Offset < format.HeaderSize || e.Pid == 0 {
			t.Errorf("%+v", e)
		}
	}
}

// A time.Duration has its hint without being asked, one or many. Another hint stays.
func TestEntryHintOfDurations(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	var b struct {
		Value   shm.Value[time.Duration]
		Atomic  shm.Atomic[time.Duration]
		Array   shm.Array[time.Duration]       `shm:",len=2"`
		Atomics shm.AtomicArray[time.Duration] `shm:",len=2"`
		Raw     shm.RawArray[time.Duration]    `shm:",len=2"`
		Ring    shm.Ring[time.Duration]        `shm:",len=2"`
		Counter shm.Counter[time.Duration]
		Time    shm.Array[time.Duration] `shm:",len=2,hint=time"`
		Plain   shm.Array[int64]         `shm:",len=2"`
	}
	if err := shm.Bind(s, &b); err != nil {
		t.Fatal(err)
	}
	other := map[string]string{"Time": "time", "Plain": ""}
	for e := range s.Entries() {
		want, is := other[e.Name]
		if !is {
			want = "duration"
		}
		if e.Hint != want {
			t.Errorf("%s, a %s, has the hint %q, want %q", e.Name, e.Type(), e.Hint, want)
		}
	}
}

// Parse is a Store like any other: it wakes those that await the value, and excludes
// other changes.
func TestEntryWakesAndExcludes(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	n := shmtest.Must(shm.NewValue(s, "n", int64(0)))(t)
	v := shmtest.Must(shm.NewStruct(s, "v", grow1{}))(t)
	old := lookup(t, s, "v")
	shmtest.Must(shm.NewStruct(s, "v", grow2{}))(t).Store(grow2{1, 2, 3, 4})
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := n.Await(t.Context(), func(n int64) bool { return n == 5 }); err != nil {
			t.Error(err)
		}
	})
	change := &agent.Cell(t, s, "n").Change
	shmtest.Eventually(t, "the value is awaited", func() bool { return change.Word.Load()&format.Awaited != 0 })
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
	if got := shmtest.Must(shm.NewStruct(s, "v", grow2{}))(t).Load(); got != (grow2{1 + each, (each - 1) % 100, 3, 4}) {
		t.Errorf("%+v", got)
	}
}

// A process that makes a struct grow may die before it tells the older writers. Then
// Parse of a new field tells them.
func TestEntryOfAStructThatOthersGrew(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	old := shmtest.Must(shm.NewStruct(s, "v", grow1{}))(t)
	cell := agent.Cell(t, s, "v")
	extent := cell.Extent.Load()
	grown := shmtest.Must(shm.NewStruct(s, "v", grow2{}))(t)
	cell.Extent.Store(extent)
	if err := lookup(t, s, "v").Parse("{D: 4}"); err != nil {
		t.Fatal(err)
	}
	old.Store(grow1{1, 2})
	if got := grown.Load(); got != (grow2{A: 1, B: 2, D: 4}) {
		t.Errorf("%+v", got)
	}
}

var boardMaker = shmtest.Helper("boardMaker", func(args []string) error {
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

// To read a value needs no id, and so no lease. Parse is the first to take the lock
// here, and gets one.
func TestEntryInAProcessWithoutLocks(t *testing.T) {
	name := shmtest.Name(t)
	p := shmtest.Start(t, boardMaker, name)
	p.Expect("made")
	s := open(t, name, nil)
	e, next := lookup(t, s, "Small"), &agent.Header(t, s).NextID
	free, _ := next.Load()
	if got := e.Any().(map[string]any)["N"]; got != uint64(0) {
		t.Fatal(got)
	}
	if n, ok := next.Load(); n != free || !ok {
		t.Fatalf("reading took an id: %d, then %d", free, n)
	}
	if err := e.Parse("{N: 9}"); err != nil {
		t.Fatal(err)
	}
	p.Say("")
	p.Expect("9 true")
	p.Wait()
	mu := shmtest.Must(shm.NewStruct(s, "Small", published{}))(t).Mutex()
	shmtest.Eventually(t, "the lock of the dead process", mu.TryLock)
	if lock, _ := e.Lock(); lock.ID != uint32(free) {
		t.Errorf("the lock was taken under id %d, want %d", lock.ID, free)
	}
}

// A value that is too large to copy is described, and refused where there is an error.
func TestTooLargeToShow(t *testing.T) {
	s := shmtest.Opened(shm.Anonymous(nil))(t)
	const n = 16<<20 + 1
	shmtest.Must(shm.NewRawArray[byte](s, "a", n))(t)
	e, _ := s.Lookup("a")
	if got, want := e.Text(), fmt.Sprintf("<a RawArray[uint8] of %d elements, %d bytes, too large to show>", n, n); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if err, ok := e.Any().(error); !ok || !errors.Is(err, shm.ErrTooLong) {
		t.Errorf("Any: %v", err)
	}
	if err := e.Parse("[]"); !errors.Is(err, shm.ErrTooLong) {
		t.Errorf("Parse: %v", err)
	}
	shmtest.Must(shm.NewRawStruct(s, "many", [300_000]struct{ A int8 }{}))(t)
	e, _ = s.Lookup("many")
	if err, ok := e.Any().(error); !ok || !errors.Is(err, shm.ErrTooLong) {
		t.Errorf("Any of many parts: %v", err)
	}
	if text := e.Text(); len(text) < 300_000 {
		t.Errorf("the text of many parts has %d bytes", len(text))
	}
}

func TestEntryType(t *testing.T) {
	s := shmtest.Opened(shm.Anonymous(nil))(t)
	type pair struct{ X, Y int32 }
	for _, err := range []error{
		shmtest.Error(shm.NewRawValue(s, "RawValue[int8]", int8(0))),
		shmtest.Error(shm.NewRawStruct(s, "RawStruct[bool]", false)),
		shmtest.Error(shm.NewAtomic(s, "Atomic[int32]", int32(0))),
		shmtest.Error(shm.NewValue(s, "Value[float32]", float32(0))),
		shmtest.Error(shm.NewStruct(s, "Struct[struct{...}]", pair{})),
		shmtest.Error(shm.NewRawArray[int8](s, "RawArray[int8]", 5)),
		shmtest.Error(shm.NewArray[int8](s, "Array[int8]", 5)),
		shmtest.Error(shm.NewCharArray(s, "CharArray", 5)),
		shmtest.Error(shm.NewString(s, "String", 5)),
		shmtest.Error(shm.NewMutex(s, "Mutex")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for e := range s.Entries() {
		if e.Type() != e.Name {
			t.Errorf("%s is a %s", e.Name, e.Type())
		}
	}
}
