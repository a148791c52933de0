//go:build linux

package shm_test

import (
	"errors"
	"io/fs"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
)

// Each row is a Struct of its own.
func TestTable(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	tab := shmtest.Must(shm.NewTable[grow1](s, "t", 100))(t)
	readOnly := shmtest.Must(shm.NewTable[grow1](open(t, s.Name(), &shm.Options{ReadOnly: true}), "t", 0))(t)
	tab.Row(7).Store(grow1{7, 1})
	tab.Row(99).Update(func(g *grow1) { g.A = 99 })
	if tab.Len() != 100 || readOnly.Len() != 100 {
		t.Errorf("%d and %d rows", tab.Len(), readOnly.Len())
	}
	n := 0
	for i, x := range readOnly.All() {
		if want := map[int]grow1{7: {7, 1}, 99: {99, 0}}[i]; i != n || x != want || tab.Row(i).Load() != want {
			t.Errorf("row %d is %v, want %v", i, x, want)
		}
		n++
	}
	for range tab.All() {
		n++
		break
	}
	if n != 101 {
		t.Errorf("All yields %d rows", n-1)
	}
	if mu := tab.Row(7).Mutex(); mu != tab.Row(7).Mutex() || mu == tab.Row(8).Mutex() {
		t.Error("the locks of rows are mixed up")
	}
	if err, ok := shmtest.Panic(func() { readOnly.Row(7).Store(grow1{}) }).(error); !ok || !errors.Is(err, shm.ErrReadOnly) || !strings.Contains(err.Error(), "t[7]") {
		t.Errorf("read-only: panic %v", err)
	}
	for _, i := range []int{-1, 100} {
		if err, ok := shmtest.Panic(func() { tab.Row(i) }).(error); !ok || !strings.Contains(err.Error(), "out of range") {
			t.Errorf("Row(%d): panic %v", i, err)
		}
	}
	for n, want := range map[int]error{-1: fs.ErrInvalid, 0: fs.ErrNotExist, min(1<<40, math.MaxInt>>10): shm.ErrFull, min(1<<60, math.MaxInt): fs.ErrInvalid} {
		if _, err := shm.NewTable[grow1](s, "x", n); !errors.Is(err, want) {
			t.Errorf("%d rows: %v", n, err)
		}
	}
	shmtest.Must(shm.NewStruct(s, "struct", grow1{}))(t).Store(grow1{})
	for what, err := range map[string]error{
		"another number": shmtest.Error(shm.NewTable[grow1](s, "t", 99)),
		"another type":   shmtest.Error(shm.NewTable[[3]int16](s, "t", 100)),
		"a Struct":       shmtest.Error(shm.NewStruct(s, "t", grow1{})),
		"of a Struct":    shmtest.Error(shm.NewTable[grow1](s, "struct", 1)),
	} {
		var mismatch *shm.LayoutError
		if !errors.As(err, &mismatch) || !strings.Contains(err.Error(), "Table") {
			t.Errorf("%s: %v", what, err)
		}
	}
	var unfit *shm.TypeError
	if _, err := shm.NewTable[*int](s, "x", 1); !errors.As(err, &unfit) {
		t.Errorf("pointers: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	tab.Row(3).Store(grow1{3, 3})
	if got := tab.Row(3).Load(); got != (grow1{3, 3}) {
		t.Errorf("after Close: %v", got)
	}
}

// Rows grow: the shorter type keeps the fields that it does not know, in each row.
func TestTableGrows(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	short := shmtest.Must(shm.NewTable[grow1](s, "t", 4))(t)
	short.Row(1).Store(grow1{1, 1})
	long := shmtest.Must(shm.NewTable[grow2](s, "t", 0))(t)
	again := shmtest.Must(shm.NewTable[grow1](open(t, s.Name(), nil), "t", 4))(t)
	if got := long.Row(1).Load(); got != (grow2{A: 1, B: 1}) {
		t.Errorf("a row of before: %v", got)
	}
	long.Row(1).Update(func(g *grow2) { g.C, g.D = 2, 3 })
	long.Row(2).Store(grow2{4, 5, 6, 7})
	again.Row(1).Store(grow1{8, 9})
	short.Row(2).Update(func(g *grow1) { g.A = 10 })
	for i, want := range []grow2{{}, {8, 9, 2, 3}, {10, 5, 6, 7}, {}} {
		if got := long.Row(i).Load(); got != want {
			t.Errorf("row %d is %v, want %v", i, got, want)
		}
	}
	var mismatch *shm.LayoutError
	if _, err := shm.NewTable[grow2b](s, "t", 4); !errors.As(err, &mismatch) {
		t.Errorf("another successor: %v", err)
	}
	if _, err := shm.NewTable[grow2](s, "t", 5); !errors.As(err, &mismatch) {
		t.Errorf("another number of rows: %v", err)
	}
}

// Rows change at the same time, and no reader sees half of a row.
func TestTableAmongGoroutines(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	tab := shmtest.Must(shm.NewTable[[4]int64](s, "t", 3))(t)
	rounds := shmtest.Rounds(2000)
	var wg sync.WaitGroup
	for g := range 6 {
		row := tab.Row(g % 3)
		wg.Go(func() {
			for range rounds {
				row.Update(func(x *[4]int64) {
					for i := range x {
						x[i]++
					}
				})
				if x := row.Load(); x[0] != x[1] || x[0] != x[2] || x[0] != x[3] {
					t.Errorf("half of a row: %v", x)
					return
				}
			}
		})
	}
	wg.Wait()
	for i, x := range tab.All() {
		if x[0] != int64(2*rounds) {
			t.Errorf("row %d was changed %d times, want %d", i, x[0], 2*rounds)
		}
	}
}

// A handle of a row, and reading it, allocates nothing.
func TestTableAllocates(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector has a cell for each row")
	}
	s := open(t, shmtest.Name(t), nil)
	const n = 10000
	tab := shmtest.Must(shm.NewTable[grow1](s, "t", n))(t)
	atomics := shmtest.Must(shm.NewAtomicArray[int64](s, "a", n))(t)
	i := 0
	if got := testing.AllocsPerRun(n/2, func() { i++; _ = tab.Row(i).Load(); atomics.At(i).Add(1) }); got != 0 {
		t.Errorf("%v allocations for a handle", got)
	}
	if got := testing.AllocsPerRun(10, func() {
		for range tab.All() {
		}
	}); got > 1 {
		t.Errorf("%v allocations for all rows", got)
	}
	tab.Row(5).Store(grow1{})
	if got := testing.AllocsPerRun(100, func() { tab.Row(5).Store(grow1{}) }); got != 0 {
		t.Errorf("%v allocations for a Store", got)
	}
}

// Bind makes them by len=.
func TestBindMany(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	type many struct {
		Counts shm.AtomicArray[uint64] `shm:"counts,len=3"`
		Places shm.Mutexes             `shm:"places,len=4"`
		Rows   shm.Table[grow1]        `shm:"rows,len=5,help=of the board"`
	}
	var a many
	if err := shm.Bind(s, &a); err != nil {
		t.Fatal(err)
	}
	var b struct {
		Counts shm.AtomicArray[uint64] `shm:"counts"`
		Places shm.Mutexes             `shm:"places"`
		Rows   shm.Table[grow1]        `shm:"rows"`
	}
	if err := shm.Bind(s, &b); err != nil {
		t.Fatal(err)
	}
	if b.Counts.Len() != 3 || b.Places.Len() != 4 || b.Rows.Len() != 5 {
		t.Errorf("%d, %d, %d", b.Counts.Len(), b.Places.Len(), b.Rows.Len())
	}
	var none struct {
		Rows shm.Table[grow1] `shm:"none"`
	}
	if err := shm.Bind(s, &none); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "len=") {
		t.Errorf("without a length: %v", err)
	}
}

// Making and attaching cost what the documentation of Table says. The times are
// compared with those of a RawArray of the same bytes, made in the same run.
func TestTableCosts(t *testing.T) {
	const n, rounds = 10000, 9
	type row [8]int64
	size := int(format.RowSize(128) * n)
	least := func(f func(s *shm.Segment) error) time.Duration {
		best := time.Hour
		for range rounds {
			s := shmtest.Opened(shm.Anonymous(nil))(t)
			start := time.Now()
			err := f(s)
			best = min(best, time.Since(start))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		return best
	}
	raw := least(func(s *shm.Segment) error { return shmtest.Error(shm.NewRawArray[byte](s, "raw", size)) })
	made := least(func(s *shm.Segment) error { return shmtest.Error(shm.NewTable[row](s, "t", n)) })
	s := shmtest.Opened(shm.Anonymous(nil))(t)
	shmtest.Must(shm.NewTable[row](s, "t", n))(t)
	attached := time.Hour
	for range 100 {
		start := time.Now()
		shmtest.Must(shm.NewTable[row](s, "t", 0))(t)
		attached = min(attached, time.Since(start))
	}
	t.Logf("%d rows: made in %v, a RawArray of %d bytes in %v, attached in %v", n, made, size, raw, attached)
}
