//go:build linux

package shm_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"example.org/shm/test/agent"
)

// kindsOfNumbers makes a number 5 of each access in a segment, and returns their names.
func kindsOfNumbers(t *testing.T, s *shm.Segment) []string {
	t.Helper()
	shmtest.Must(shm.NewRawValue(s, "raw", int64(5)))(t)
	shmtest.Must(shm.NewAtomic(s, "atomic", uint32(5)))(t)
	shmtest.Must(shm.NewAtomic(s, "wide atomic", int64(5)))(t)
	shmtest.Must(shm.NewValue(s, "locked", int16(5)))(t)
	shmtest.Must(shm.NewStruct(s, "published", int32(5)))(t)
	return []string{"raw", "atomic", "wide atomic", "locked", "published"}
}

func TestEntryUpdateContext(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	refusal := errors.New("refused")
	for _, name := range kindsOfNumbers(t, s) {
		e := lookup(t, s, name)
		err := e.UpdateContext(t.Context(), func(old any) (string, error) {
			return fmt.Sprint(reflect.ValueOf(old).Convert(reflect.TypeFor[int64]()).Int() + 2), nil
		})
		if got := e.Text(); err != nil || got != "7" {
			t.Errorf("%s: %v, %s", name, err, got)
		}
		if err := e.UpdateContext(t.Context(), func(any) (string, error) { return "8", refusal }); err != refusal || e.Text() != "7" {
			t.Errorf("%s: a refused change: %v, %s", name, err, e.Text())
		}
		if err := e.UpdateContext(t.Context(), func(any) (string, error) { return "x", nil }); !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), name) || e.Text() != "7" {
			t.Errorf("%s: a text that is no number: %v, %s", name, err, e.Text())
		}
		done, cancel := context.WithCancel(t.Context())
		cancel()
		if err := e.UpdateContext(done, func(any) (string, error) { return "8", nil }); !errors.Is(err, context.Canceled) || e.Text() != "7" {
			t.Errorf("%s: a context that is done: %v, %s", name, err, e.Text())
		}
		if l, ok := e.Lock(); ok && l.Held {
			t.Errorf("%s: its lock is left held: %v", name, l)
		}
	}
	shmtest.Must(shm.NewMutex(s, "mutex"))(t)
	if err := lookup(t, s, "mutex").UpdateContext(t.Context(), func(any) (string, error) { return "", nil }); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a Mutex: %v", err)
	}
	ro := open(t, s.Name(), &shm.Options{ReadOnly: true})
	if err := lookup(t, ro, "raw").UpdateContext(t.Context(), func(any) (string, error) { return "8", nil }); !errors.Is(err, shm.ErrReadOnly) {
		t.Errorf("a read-only attachment: %v", err)
	}
}

// Elements and fields that the text leaves out stay as they are.
func TestEntryUpdatesParts(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	a := shmtest.Must(shm.NewArray[int32](s, "array", 3))(t)
	a.Store(0, 1)
	if err := lookup(t, s, "array").UpdateContext(t.Context(), func(any) (string, error) { return "[2: 9]", nil }); err != nil || a.Load(0) != 1 || a.Load(2) != 9 {
		t.Errorf("%v, %d and %d", err, a.Load(0), a.Load(2))
	}
}

// Changes by several goroutines and mappings are not lost, with a lock and without.
func TestEntryUpdatesExclude(t *testing.T) {
	const goroutines, each = 4, 200
	s := open(t, shmtest.Name(t), nil)
	shmtest.Must(shm.NewAtomic(s, "atomic", int64(0)))(t)
	shmtest.Must(shm.NewValue(s, "locked", int64(0)))(t)
	shmtest.Must(shm.NewStruct(s, "published", int64(0)))(t)
	for _, name := range []string{"atomic", "locked", "published"} {
		e := lookup(t, s, name)
		var wg sync.WaitGroup
		for range goroutines {
			wg.Go(func() {
				for range each {
					if err := e.UpdateContext(t.Context(), func(old any) (string, error) { return fmt.Sprint(old.(int64) + 1), nil }); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if got, want := e.Text(), fmt.Sprint(goroutines*each); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// A change of a row by its holder, for which an update waits, is not lost, and is what the
// update's function sees last.
func TestEntryUpdatesRowsUnderTheirLocks(t *testing.T) {
	type row struct{ N, Other int64 }
	s := open(t, shmtest.Name(t), nil)
	rows := shmtest.Must(shm.NewTable[row](s, "rows", 3))(t)
	e := lookup(t, s, "rows")
	nOf := func(old any, i int) int64 { return old.([]map[string]any)[i]["N"].(int64) }
	holdRow := func(i int, change func(*row)) (release func()) {
		t.Helper()
		held, let, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			rows.Row(i).Update(func(r *row) { change(r); close(held); <-let })
		}()
		<-held
		return func() { close(let); <-done }
	}
	// beside starts an update, lets the holder of a row commit after the update has seen the
	// row, and returns the update's error.
	beside := func(release func(), f func(old any) (string, error)) error {
		t.Helper()
		seen, done := make(chan struct{}, 10), make(chan error, 1)
		go func() {
			done <- e.UpdateContext(t.Context(), func(old any) (string, error) { seen <- struct{}{}; return f(old) })
		}()
		<-seen
		release()
		return <-done
	}
	increment := func(old any) (string, error) { return fmt.Sprintf("[2: {N: %d}]", nOf(old, 2)+5), nil }
	if err := beside(holdRow(2, func(r *row) { r.N = 101; r.Other = 7 }), increment); err != nil || rows.Row(2).Load() != (row{106, 7}) {
		t.Errorf("one row: %v, %v", err, rows.Row(2).Load())
	}
	differs := errors.New("differs")
	compare := func(old any) (string, error) {
		if nOf(old, 2) != 106 {
			return "", differs
		}
		return "[2: {N: 500}]", nil
	}
	if err := beside(holdRow(2, func(r *row) { r.N = 107 }), compare); err != differs || rows.Row(2).Load() != (row{107, 7}) {
		t.Errorf("a refused change: %v, %v", err, rows.Row(2).Load())
	}
	both := func(old any) (string, error) {
		return fmt.Sprintf("[0: {N: %d}, 2: {N: %d}]", nOf(old, 0)+1, nOf(old, 2)+1), nil
	}
	if err := beside(holdRow(2, func(r *row) { r.N = 200 }), both); err != nil || rows.Row(0).Load().N != 1 || rows.Row(2).Load().N != 201 {
		t.Errorf("two rows: %v, %v and %v", err, rows.Row(0).Load(), rows.Row(2).Load())
	}
	other := func(old any) (string, error) {
		if nOf(old, 2) == 201 {
			return "[2: {N: 1}]", nil
		}
		return "[1: {N: 1}]", nil
	}
	if err := beside(holdRow(2, func(r *row) { r.N = 300 }), other); err != nil || rows.Row(1).Load().N != 1 || rows.Row(2).Load().N != 300 {
		t.Errorf("another row: %v, %v and %v", err, rows.Row(1).Load(), rows.Row(2).Load())
	}
	for i, l := range e.Locks() {
		if l.Held {
			t.Errorf("the lock of row %d is left held: %v", i, l)
		}
	}
	// Nothing is lost beside others that do the same.
	const goroutines, each = 4, 200
	rows.Row(1).Store(row{})
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range each {
				if err := e.UpdateContext(t.Context(), func(old any) (string, error) { return fmt.Sprintf("[1: {N: %d}]", nOf(old, 1)+1), nil }); err != nil {
					t.Error(err)
				}
				rows.Row(1).Update(func(r *row) { r.N++ })
			}
		})
	}
	wg.Wait()
	if got := rows.Row(1).Load().N; got != 2*goroutines*each {
		t.Errorf("%d additions are %d", 2*goroutines*each, got)
	}
}

// A holder that is stopped does not hold up an update for longer than its context says.
func TestEntryUpdateIsGivenUp(t *testing.T) {
	s, v := agent.Locked(t)
	p := agent.Start(t, s.Name())
	p.Do("lock", "locked")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	called := false
	err := lookup(t, s, agent.ValueName).UpdateContext(ctx, func(any) (string, error) { called = true; return "1", nil })
	if !errors.Is(err, context.DeadlineExceeded) || called || v.Load() != 0 {
		t.Errorf("%v; called: %v; the value is %d", err, called, v.Load())
	}
}

func TestEntryAwait(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	names := kindsOfNumbers(t, s)
	shmtest.Must(shm.NewArray[int64](s, "array", 2))(t)
	ro := open(t, s.Name(), &shm.Options{ReadOnly: true})
	for _, from := range []*shm.Segment{s, ro} {
		for _, name := range append(names, "array") {
			if race.Enabled && lookup(t, s, name).Access == shm.AccessRaw {
				continue // nothing orders a raw value's change before the look at it, as the detector says
			}
			looked, done := make(chan string, 100), make(chan error, 1)
			start := lookup(t, s, name).Text()
			go func() {
				done <- lookup(t, from, name).Await(t.Context(), func(v any) bool {
					looked <- fmt.Sprint(v)
					return fmt.Sprint(v) != strings.ReplaceAll(start, ",", "")
				})
			}()
			<-looked // so that it waits
			to := "6"
			switch {
			case name == "array":
				to = fmt.Sprintf("[1: %d]", len(start)) // 6, then 7
			case start == "6":
				to = "7"
			}
			if name == "array" && from == ro {
				to = "[0: 1]"
			}
			if err := lookup(t, s, name).Parse(to); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for _, name := range names {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if err := lookup(t, s, name).Await(ctx, func(any) bool { return false }); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	shmtest.Must(shm.NewMutex(s, "mutex"))(t)
	if err := lookup(t, s, "mutex").Await(t.Context(), func(any) bool { return true }); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a Mutex: %v", err)
	}
	// Close ends those that wait.
	for _, name := range []string{"raw", "locked", "published"} {
		s := open(t, shmtest.Name(t), nil)
		kindsOfNumbers(t, s)
		looked, done := make(chan struct{}, 100), make(chan error, 1)
		go func() {
			done <- lookup(t, s, name).Await(context.Background(), func(any) bool { looked <- struct{}{}; return false })
		}()
		<-looked
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, shm.ErrClosed) {
			t.Errorf("%s: Close while it waits: %v", name, err)
		}
	}
}

func TestSegmentLeased(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	shmtest.Must(shm.NewAtomic(s, agent.ValueName+" without a lock", int64(0)))(t)
	ro := open(t, s.Name(), &shm.Options{ReadOnly: true})
	leased := func(want bool, when string) {
		t.Helper()
		if got, err := ro.Leased(); got != want || err != nil {
			t.Errorf("%s: %v, %v, want %v", when, got, err, want)
		}
	}
	leased(false, "nobody has used a lock")
	p := agent.Start(t, s.Name())
	leased(true, "a process has made a lock")
	p.Kill()
	leased(false, "it was killed")
	if err := ro.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ro.Leased(); !errors.Is(err, shm.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := ro.Check(); !errors.Is(err, shm.ErrClosed) {
		t.Errorf("Check after Close: %v", err)
	}
}

func TestSegmentCheck(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	kindsOfNumbers(t, s)
	if err := s.Check(); err != nil {
		t.Errorf("a sound segment: %v", err)
	}
	b := shmtest.Must(os.ReadFile(shm.Path(s.Name())))(t)
	b[strings.Index(string(b), "locked")]++
	path := filepath.Join(t.TempDir(), "damaged")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := open(t, path, &shm.Options{ReadOnly: true})
	if err := damaged.Check(); !errors.Is(err, shm.ErrFormat) || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged record: %v", err)
	}
	n := 0
	for range damaged.Entries() {
		n++
	}
	if n != 3 {
		t.Errorf("%d values before the damage, want 3", n)
	}
}

// An UpdateContext of an Atomic that others change all the time ends with its context.
func TestEntryUpdateOfABusyAtomic(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	n := shmtest.Must(shm.NewAtomic(s, "n", int64(0)))(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := lookup(t, s, "n").UpdateContext(ctx, func(any) (string, error) {
		if n.Add(1) == 3 {
			cancel()
		}
		return "7", nil
	})
	if !errors.Is(err, context.Canceled) || n.Load() != 3 {
		t.Errorf("%v, and it is %d", err, n.Load())
	}
}

// Await of a Ring sleeps until a value is appended, and calls its function for nothing else.
func TestEntryAwaitRing(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	ring := shmtest.Must(shm.NewRing[int64](s, "ring", 100))(t)
	for what, s := range map[string]*shm.Segment{"read-write": s, "read-only": open(t, name, &shm.Options{ReadOnly: true})} {
		last := ring.Append(1)
		var newest, calls atomic.Int64
		done := make(chan error, 1)
		go func() {
			done <- lookup(t, s, "ring").Await(t.Context(), func(x any) bool {
				kept := x.([]int64)
				calls.Add(1)
				newest.Store(kept[len(kept)-1])
				return newest.Load() < 0
			})
		}()
		for i := range int64(10) {
			ring.Append(i + 1)
		}
		shmtest.Eventually(t, what+": all values are seen", func() bool { return newest.Load() == 10 })
		if what == "read-write" || sys.Backend == "linux" { // elsewhere one that may only read is not woken, but looks
			shmtest.Eventually(t, what+": no calls while nothing changes", func() bool {
				before := calls.Load()
				time.Sleep(300 * time.Millisecond)
				return calls.Load() == before
			})
		}
		if got := ring.Append(-1); got != last+11 {
			t.Errorf("%s: value %d, want %d", what, got, last+11)
		}
		shmtest.Within(t, what+": the last value", func() {
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// The locks of a Table have the names of their rows also if an Await of all rows has made
// them. What ends an Await of all rows is told of the Table.
func TestEntryAwaitTableNamesTheRows(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	rows := shmtest.Must(shm.NewTable[int64](s, "table", 3))(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- lookup(t, s, "table").Await(ctx, func(any) bool { cancel(); return false })
	}()
	if err := <-done; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), `"table"`) {
		t.Errorf("Await of the table: %v", err)
	}
	for i := range rows.Len() {
		want := fmt.Sprintf(`"table[%d]"`, i)
		err := rows.Row(i).UpdateContext(ctx, func(*int64) error { return nil })
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), want) {
			t.Errorf("an update of row %d: %v, want an error that has %s", i, err, want)
		}
	}
}

// Await of a Table sleeps until a row changes, and calls its function for nothing else.
func TestEntryAwaitTable(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	rows := shmtest.Must(shm.NewTable[int64](s, "table", 100))(t)
	shmtest.Must(shm.NewTable[int64](s, "long", 1000))(t)
	for what, s := range map[string]*shm.Segment{"read-write": s, "read-only": open(t, name, &shm.Options{ReadOnly: true})} {
		rows.Row(99).Store(0) // it ended the Await before this one
		var sum, calls atomic.Int64
		done := make(chan error, 1)
		go func() {
			done <- lookup(t, s, "table").Await(t.Context(), func(x any) bool {
				n := int64(0)
				for _, row := range x.([]int64) {
					n += row
				}
				calls.Add(1)
				sum.Store(n)
				return n < 0
			})
		}()
		want := int64(0)
		for i := range rows.Len() {
			rows.Row(i).Store(int64(i + 1))
			want += int64(i + 1)
		}
		shmtest.Eventually(t, what+": all changes are seen", func() bool { return sum.Load() == want })
		shmtest.Eventually(t, what+": no calls while nothing changes", func() bool {
			before := calls.Load()
			time.Sleep(300 * time.Millisecond)
			return calls.Load() == before
		})
		rows.Row(99).Store(-want)
		shmtest.Within(t, what+": a change of the last row", func() {
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, name := range []string{"table", "long"} {
		if err := lookup(t, s, name).Await(ctx, func(any) bool { return false }); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	looked, closed := make(chan struct{}, 100), make(chan error, 1)
	go func() {
		closed <- lookup(t, s, "table").Await(context.Background(), func(any) bool { looked <- struct{}{}; return false })
	}()
	<-looked
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-closed; !errors.Is(err, shm.ErrClosed) {
		t.Errorf("Close while it waits: %v", err)
	}
}
