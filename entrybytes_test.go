//go:build linux

package shm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// everyKind is a struct to bind that has a value of each type.
type everyKind struct {
	Raw    shm.RawValue[float64]    `shm:"raw,unit=mm,help=a length"`
	Whole  shm.RawStruct[padded]    `shm:"raw struct"`
	Raws   shm.RawArray[int16]      `shm:"raws,len=3"`
	Chars  shm.CharArray            `shm:"chars,len=8"`
	Atomic shm.Atomic[uint32]       `shm:"atomic,hint=counter"`
	Words  shm.AtomicArray[int64]   `shm:"words,len=2"`
	Count  shm.Counter[uint64]      `shm:"count"`
	Float  shm.Counter[float64]     `shm:"float"`
	Gauge  shm.Gauge[int64]         `shm:"gauge"`
	Took   shm.Histogram            `shm:"took,bounds=0.1;1"`
	N      shm.Value[time.Duration] `shm:"n"`
	Array  shm.Array[int32]         `shm:"array,len=2"`
	Mutex  *shm.Mutex               `shm:"mutex"`
	Locks  shm.Mutexes              `shm:"locks,len=2"`
	Pair   shm.Struct[padded]       `shm:"pair,room=256"`
	Rows   shm.Table[padded]        `shm:"rows,len=3"`
	Text   shm.String               `shm:"text,len=20"`
	Ring   shm.Ring[padded]         `shm:"ring,len=2"`
}

// A value that is made from a description, which went through JSON, and set from bytes is
// what it was, for handles and for Any.
func TestCopyOfEachKind(t *testing.T) {
	from, to := open(t, shmtest.Name(t), nil), open(t, shmtest.Name(t), nil)
	var a, b everyKind
	check(t, shm.Bind(from, &a))
	a.Raw.Set(1.5)
	a.Whole.Set(padded{B: 3})
	a.Raws.Set(2, -7)
	check(t, a.Chars.SetValue("chars"))
	a.Atomic.Store(4)
	a.Words.At(1).Store(-1)
	a.Count.Add(10)
	a.Float.Add(0.25)
	a.Gauge.Set(-3)
	a.Took.Observe(0.5)
	a.Took.Observe(7)
	a.N.Store(time.Second)
	a.Array.Store(1, 9)
	a.Pair.Store(padded{B: 5})
	a.Rows.Row(2).Store(padded{B: 6})
	check(t, a.Text.Store("text"))
	a.Ring.Append(padded{B: 1})
	a.Ring.Append(padded{B: 2})
	for e := range from.Entries() {
		d, err := e.Description()
		check(t, err)
		var sent shm.Description
		check(t, json.Unmarshal(shmtest.Must(json.Marshal(d))(t), &sent))
		made, err := to.Make(sent)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time it is there already, and nothing changes
			copyParts(t, e, made)
		}
		again, err := made.Description()
		if err != nil || !reflect.DeepEqual(again, d) {
			t.Errorf("%s is %+v, and its copy %+v, %v", e.Name, d, again, err)
		}
		if made.Type() != e.Type() || made.Text() != e.Text() {
			t.Errorf("%s is %s %s, and its copy %s %s", e.Name, e.Type(), e.Text(), made.Type(), made.Text())
		}
	}
	check(t, shm.Bind(to, &b))
	if x, seq, _ := b.Ring.Last(); x.B != 2 || seq != 2 {
		t.Errorf("the ring's last is %v, number %d", x, seq)
	}
	if d := b.Took.Load(); !reflect.DeepEqual(d, a.Took.Load()) {
		t.Errorf("the histogram is %v", d)
	}
	b.Count.Add(5)
	if n := b.Count.Load(); n != 15 {
		t.Errorf("the counter is %d after 5 were added", n)
	}
	e := lookup(t, to, "count")
	sum, _, err := lookup(t, from, "count").Bytes(0)
	check(t, err)
	check(t, e.SetBytes(t.Context(), 0, sum))
	if n := b.Count.Load(); n != 10 {
		t.Errorf("the counter is %d, although a process of its own has counted", n)
	}
}

// check ends the test if err is not nil.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// copyParts sets each part of a value to what another one is.
func copyParts(t *testing.T, from, to shm.Entry) {
	t.Helper()
	if from.Layout.Format == "" {
		return
	}
	if from.Type()[:4] == "Ring" {
		_, had, err := to.Bytes(0)
		check(t, err)
		for seq, b := range from.Since(had) {
			check(t, to.SetBytes(t.Context(), 0, b))
			if _, now, _ := to.Bytes(0); now != seq {
				t.Errorf("value %d is number %d in the copy", seq, now)
			}
		}
		return
	}
	for i := range from.Parts() {
		b, _, err := from.Bytes(i)
		check(t, err)
		check(t, to.SetBytes(t.Context(), i, b))
		if got, _, err := to.Bytes(i); err != nil || !bytes.Equal(got, b) {
			t.Errorf("part %d of %s is %x, want %x, %v", i, from.Name, got, b, err)
		}
	}
}

// The number of a commit goes up by one with each change, and stays if nothing changes.
func TestBytesOfACommit(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	v := shmtest.Must(shm.NewStruct(s, "pair", padded{}))(t)
	e := lookup(t, s, "pair")
	b, first, err := e.Bytes(0)
	check(t, err)
	check(t, e.SetBytes(t.Context(), 0, b))
	if _, n, _ := e.Bytes(0); n != first {
		t.Errorf("commit %d after %d, although nothing has changed", n, first)
	}
	v.Store(padded{B: 1})
	if _, n, _ := e.Bytes(0); n != first+1 {
		t.Errorf("commit %d after %d", n, first)
	}
}

func TestSinceTellsOfValuesThatAreGone(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	v := shmtest.Must(shm.NewRing[int64](s, "ring", 3))(t)
	e := lookup(t, s, "ring")
	if b, n, err := e.Bytes(0); b != nil || n != 0 || err != nil {
		t.Errorf("an empty ring has %v, number %d, %v", b, n, err)
	}
	for i := range int64(10) {
		v.Append(i)
	}
	var seqs []uint64
	for seq := range e.Since(2) {
		seqs = append(seqs, seq)
	}
	if !reflect.DeepEqual(seqs, []uint64{8, 9, 10}) {
		t.Errorf("numbers %v", seqs)
	}
	for seq := range e.Since(math.MaxUint64) {
		t.Errorf("since the highest number there is %d", seq)
	}
	for seq := range e.Since(10) {
		t.Errorf("number %d after the last one", seq)
	}
	shmtest.Must(shm.NewRawValue(s, "raw", int32(0)))(t)
	for range lookup(t, s, "raw").Since(0) {
		t.Error("a RawValue has values that were appended")
	}
}

func TestSetBytesRefuses(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	var all everyKind
	check(t, shm.Bind(s, &all))
	for e := range s.Entries() {
		before := e.Text()
		if err := e.SetBytes(t.Context(), 0, make([]byte, 3)); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: three bytes: %v", e.Name, err)
		}
		if e.Text() != before {
			t.Errorf("%s was %s and is %s", e.Name, before, e.Text())
		}
		if p := shmtest.Panic(func() { _, _, _ = e.Bytes(e.Parts()) }); p == nil {
			t.Errorf("%s: a part beyond the last one", e.Name)
		}
		if p := shmtest.Panic(func() { _ = e.SetBytes(t.Context(), -1, nil) }); p == nil {
			t.Errorf("%s: part -1", e.Name)
		}
		if e.Layout.Format == "" {
			if _, _, err := e.Bytes(0); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s: bytes of a lock: %v", e.Name, err)
			}
		}
	}
	took := lookup(t, s, "took")
	b, _, err := took.Bytes(0)
	check(t, err)
	b[0] ^= 1
	if err := took.SetBytes(t.Context(), 0, b); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("other bounds: %v", err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := lookup(t, s, "n").SetBytes(done, 0, make([]byte, 8)); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that is done: %v", err)
	}
	ro := open(t, name, &shm.Options{ReadOnly: true})
	for e := range ro.Entries() {
		if err := e.SetBytes(t.Context(), 0, nil); !errors.Is(err, shm.ErrReadOnly) {
			t.Errorf("%s, read-only: %v", e.Name, err)
		}
	}
	if _, err := ro.Make(shm.Description{Name: "new", Type: "Mutex"}); !errors.Is(err, shm.ErrReadOnly) {
		t.Errorf("made in a read-only attachment: %v", err)
	}
	check(t, s.Close())
	if err := lookup(t, ro, "n").SetBytes(t.Context(), 0, make([]byte, 8)); !errors.Is(err, shm.ErrReadOnly) {
		t.Errorf("after Close of another attachment: %v", err)
	}
}

func TestMakeRefuses(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	shmtest.Must(shm.NewHistogram(s, "took", []float64{1, 2}))(t)
	shmtest.Must(shm.NewStruct(s, "pair", padded{}))(t)
	number, pair := shmtest.Must(shm.LayoutOf[float64]())(t).Format, shmtest.Must(shm.LayoutOf[padded]())(t).Format
	for _, d := range []shm.Description{
		{},
		{Name: "x"},
		{Name: "x", Type: "Thing"},
		{Name: "x", Type: "Value"},
		{Name: "x", Type: "Value", Layout: "T{"},
		{Name: "x", Type: "Value", Layout: pair},
		{Name: "x", Type: "Value", Layout: number, Len: 3},
		{Name: "x", Type: "Array", Layout: number},
		{Name: "x", Type: "Array", Layout: number, Len: -1},
		{Name: "x", Type: "Mutex", Layout: number},
		{Name: "x", Type: "Mutexes"},
		{Name: "x", Type: "Struct", Layout: pair, Room: 1},
		{Name: "x", Type: "Struct", Layout: pair, Room: 1 << 62},
		{Name: "x", Type: "Value", Layout: number, Hint: "a hint"},
		{Name: "x", Type: "Histogram", Layout: number, Len: 1},
		{Name: "x", Type: "Histogram", Layout: number, Len: 2, Bounds: []float64{1}},
		{Name: "x", Type: "Histogram", Layout: number, Len: 2, Bounds: []float64{2, 1}},
		{Name: "x\x1b", Type: "Value", Layout: number},
	} {
		if _, err := s.Make(d); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%+v: %v", d, err)
		}
	}
	var mismatch *shm.LayoutError
	for _, d := range []shm.Description{
		{Name: "took", Type: "Histogram", Layout: number, Len: 2, Bounds: []float64{1, 3}},
		{Name: "pair", Type: "RawStruct", Layout: pair},
	} {
		if _, err := s.Make(d); !errors.As(err, &mismatch) {
			t.Errorf("%+v: %v", d, err)
		}
	}
	if unsafe.Sizeof(uintptr(0)) == 8 {
		// What an extent can count is the limit of a struct, and of no other value.
		large := fmt.Sprintf("(%d)%sB", int64(1)<<32, number[:1])
		for _, d := range []shm.Description{{Name: "x", Type: "Struct", Layout: large}, {Name: "x", Type: "Table", Layout: large, Len: 1}} {
			if _, err := s.Make(d); !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), "4294967296 bytes") || !strings.Contains(err.Error(), "at most 4294967295") {
				t.Errorf("%+v: %v", d, err)
			}
		}
		if _, err := s.Make(shm.Description{Name: "x", Type: "Ring", Layout: large, Len: 1}); !errors.Is(err, shm.ErrFull) {
			t.Errorf("a ring: %v", err)
		}
	}
	if _, err := shm.NewString(s, "x", math.MaxInt); !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), fmt.Sprint("at most ", min(int64(1)<<45, math.MaxInt/4))) {
		t.Errorf("a String of all memory: %v", err)
	}
	n := 0
	for range s.Entries() {
		n++
	}
	if n != 2 {
		t.Errorf("%d values, want 2", n)
	}
}
