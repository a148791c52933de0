//go:build linux

package shm_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

type padded struct {
	A int8
	B int64
	C int16
}

// contextVerb is a change that takes a context, and what the test needs to know of its
// value.
type contextVerb struct {
	name   string
	mu     *shm.Mutex
	change func(ctx context.Context, f func() error) error // to another value than before
	state  func() string
}

func contextVerbs(t *testing.T, s *shm.Segment) []contextVerb {
	n := shmtest.Must(shm.NewValue(s, "n", int64(1)))(t)
	p := shmtest.Must(shm.NewStruct(s, "p", padded{1, 2, 3}))(t)
	text := shmtest.Must(shm.NewString(s, "text", 20))(t)
	a := shmtest.Must(shm.NewArray[int32](s, "a", 3))(t)
	return []contextVerb{
		{"Value.UpdateContext", n.Mutex(), func(ctx context.Context, f func() error) error {
			_, err := n.UpdateContext(ctx, func(x int64) (int64, error) { return x + 1, f() })
			return err
		}, func() string { return fmt.Sprint(n.Load()) }},
		{"Value.StoreContext", n.Mutex(), func(ctx context.Context, f func() error) error {
			return errors.Join(f(), n.StoreContext(ctx, n.Load()+1))
		}, func() string { return fmt.Sprint(n.Load()) }},
		{"Struct.UpdateContext", p.Mutex(), func(ctx context.Context, f func() error) error {
			return p.UpdateContext(ctx, func(x *padded) error { x.B++; return f() })
		}, func() string { return fmt.Sprint(p.Load()) }},
		{"Struct.StoreContext", p.Mutex(), func(ctx context.Context, f func() error) error {
			return errors.Join(f(), p.StoreContext(ctx, padded{p.Load().A + 1, 2, 3}))
		}, func() string { return fmt.Sprint(p.Load()) }},
		{"String.StoreContext", text.Mutex(), func(ctx context.Context, f func() error) error {
			return errors.Join(f(), text.StoreContext(ctx, text.Load()+"x"))
		}, text.Load},
		{"Array.WithLockContext", a.Mutex(), func(ctx context.Context, f func() error) error {
			return a.WithLockContext(ctx, func(x []int32) error { err := f(); x[1]++; return err })
		}, func() string { return fmt.Sprint(a.Load(1)) }},
	}
}

// takesFunc reports whether the verb has a function of the user's, which may refuse.
func (v contextVerb) takesFunc() bool { return !strings.Contains(v.name, "Store") }

func TestContextVerbs(t *testing.T) {
	s := shmtest.Must(shm.Anonymous(nil))(t)
	for _, v := range contextVerbs(t, s) {
		t.Run(v.name, func(t *testing.T) {
			never := func() error {
				if v.takesFunc() {
					t.Error("f was called")
				}
				return nil
			}
			before := v.state()
			done, cancel := context.WithCancel(t.Context())
			cancel()
			short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			v.mu.Lock()
			for ctx, want := range map[context.Context]error{done: context.Canceled, short: context.DeadlineExceeded} {
				if err := v.change(ctx, never); !errors.Is(err, want) || !strings.HasPrefix(err.Error(), "shm: ") || v.state() != before {
					t.Errorf("while the lock is held: %v; %s has become %s", err, before, v.state())
				}
			}
			v.mu.Unlock()
			if err := v.change(done, never); !errors.Is(err, context.Canceled) || v.state() != before {
				t.Errorf("a context that is done, and a free lock: %v", err)
			}
			if err := v.change(t.Context(), func() error { return nil }); err != nil || v.state() == before {
				t.Errorf("a change: %v, %s", err, v.state())
			}
			if !v.mu.TryLock() {
				t.Fatal("the lock is held")
			}
			v.mu.Unlock()
			if !v.takesFunc() {
				return
			}
			before = v.state()
			mistake := errors.New("mistake")
			inPlace := strings.HasPrefix(v.name, "Array")
			if err := v.change(t.Context(), func() error { return mistake }); err != mistake || (v.state() == before) == inPlace {
				t.Errorf("an error of f: %v, %s has become %s", err, before, v.state())
			}
			before = v.state()
			if got := shmtest.Panic(func() { _ = v.change(t.Context(), func() error { panic("no") }) }); got != "no" || v.state() != before {
				t.Errorf("a panic of f: %v, %s has become %s", got, before, v.state())
			}
			if !v.mu.TryLock() {
				t.Fatal("the lock is held after a function that did not finish")
			}
			if v.mu.Abandoned() != inPlace {
				t.Error("the mark is not what a panic leaves, or an error has left one")
			}
			v.mu.Unlock()
		})
	}
	text := shmtest.Must(shm.NewString(s, "text", 0))(t)
	if err := text.StoreContext(t.Context(), strings.Repeat("x", 21)); !errors.Is(err, shm.ErrTooLong) {
		t.Error(err)
	}
}

// An error of f leaves no mark.
func TestRefusalLeavesNoMark(t *testing.T) {
	s := shmtest.Must(shm.Anonymous(nil))(t)
	a := shmtest.Must(shm.NewArray[int32](s, "a", 3))(t)
	mistake := errors.New("mistake")
	if err := a.WithLockContext(t.Context(), func([]int32) error { return mistake }); err != mistake {
		t.Error(err)
	}
	a.Mutex().Lock()
	if a.Mutex().Abandoned() {
		t.Error("an error of f has left a mark")
	}
	a.Mutex().Unlock()
}

// A wait behind a process that is stopped while it holds the lock is given up.
func TestContextVerbsBehindAStoppedProcess(t *testing.T) {
	s, v := agent.Locked(t)
	other := agent.Start(t, s.Name())
	other.Do("lock", "locked")
	other.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := v.UpdateContext(ctx, func(x int64) (int64, error) { return x + 1, nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	other.Kill()
	if x, err := v.UpdateContext(t.Context(), func(x int64) (int64, error) { return x + 1, nil }); err != nil || x != v.Load() {
		t.Errorf("after the holder's death: %d, %v", x, err)
	}
}

// A change that leaves all bits as they were wakes nobody.
func TestNoChangeWakesNobody(t *testing.T) {
	s := shmtest.Must(shm.Anonymous(nil))(t)
	n := shmtest.Must(shm.NewValue(s, "n", 1.5))(t)
	p := shmtest.Must(shm.NewStruct(s, "p", padded{1, 2, 3}))(t)
	text := shmtest.Must(shm.NewString(s, "text", 20))(t)
	if err := text.Store("text"); err != nil {
		t.Fatal(err)
	}
	a := shmtest.Must(shm.NewArray[int32](s, "a", 3))(t)
	element := shm.Synchronized(shmtest.Must(shm.NewRawValue(s, "of a", int32(0)))(t), a.Mutex())
	entries := map[string]shm.Entry{}
	for e := range s.Entries() {
		entries[e.Name] = e
	}
	mistake := errors.New("mistake")
	refused := func(err error) {
		if err != mistake {
			t.Error(err)
		}
	}
	fine := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	ctx := t.Context()
	ended, end := context.WithCancel(ctx)
	waits := map[string]func(context.Context, *atomic.Int64){
		"n": func(ctx context.Context, looks *atomic.Int64) {
			_, _ = n.Await(ctx, func(float64) bool { looks.Add(1); return false })
		},
		"p": func(ctx context.Context, looks *atomic.Int64) {
			_, _ = p.Await(ctx, func(padded) bool { looks.Add(1); return false })
		},
		"text": func(ctx context.Context, looks *atomic.Int64) {
			_, _ = text.Await(ctx, func(string) bool { looks.Add(1); return false })
		},
		"a": func(ctx context.Context, looks *atomic.Int64) {
			_, _ = element.Await(ctx, func(int32) bool { looks.Add(1); return false })
		},
	}
	looks := map[string]*atomic.Int64{}
	gone := make(chan struct{}, len(waits))
	for name, wait := range waits {
		n := new(atomic.Int64)
		looks[name] = n
		go func() { wait(ended, n); gone <- struct{}{} }()
	}
	for _, c := range []struct {
		on, what string
		change   func()
	}{
		{"n", "Store", func() { n.Store(1.5) }},
		{"n", "Swap", func() { n.Swap(1.5) }},
		{"n", "Add", func() { n.Add(0) }},
		{"n", "CompareAndSwap that fails", func() { n.CompareAndSwap(7, 8) }},
		{"n", "CompareAndSwap with the same", func() { n.CompareAndSwap(1.5, 1.5) }},
		{"n", "Update", func() { n.Update(func(x float64) float64 { return x }) }},
		{"n", "Update that panics", func() { shmtest.Panic(func() { n.Update(func(x float64) float64 { panic("no") }) }) }},
		{"n", "StoreContext", func() { fine(n.StoreContext(ctx, 1.5)) }},
		{"n", "UpdateContext", func() { fine(shmtest.Error(n.UpdateContext(ctx, func(x float64) (float64, error) { return x, nil }))) }},
		{"n", "UpdateContext with an error", func() {
			refused(shmtest.Error(n.UpdateContext(ctx, func(x float64) (float64, error) { return 8, mistake })))
		}},
		{"n", "Parse", func() { fine(entries["n"].Parse("1.5")) }},
		{"p", "Store", func() { p.Store(padded{1, 2, 3}) }},
		{"p", "Update", func() { p.Update(func(*padded) {}) }},
		{"p", "Update back and forth", func() { p.Update(func(x *padded) { x.A++; x.A-- }) }},
		{"p", "Update that panics", func() { shmtest.Panic(func() { p.Update(func(x *padded) { x.A++; panic("no") }) }) }},
		{"p", "StoreContext", func() { fine(p.StoreContext(ctx, padded{1, 2, 3})) }},
		{"p", "UpdateContext", func() { fine(p.UpdateContext(ctx, func(*padded) error { return nil })) }},
		{"p", "UpdateContext with an error", func() { refused(p.UpdateContext(ctx, func(x *padded) error { x.A++; return mistake })) }},
		{"p", "Parse", func() { fine(entries["p"].Parse("{A: 1}")) }},
		{"text", "Store", func() { fine(text.Store("text")) }},
		{"text", "StoreContext", func() { fine(text.StoreContext(ctx, "text")) }},
		{"text", "Parse", func() { fine(entries["text"].Parse("text")) }},
		{"a", "Store", func() { a.Store(1, 0) }},
		{"a", "Add", func() { a.Add(1, 0) }},
		{"a", "Parse", func() { fine(entries["a"].Parse("[0, 0, 0]")) }},
	} {
		// The change word counts what wakes somebody, and only while somebody waits.
		word := &agent.Cell(t, s, c.on).Change.Word
		awaited := func() bool { return word.Load()&format.Awaited != 0 }
		shmtest.Eventually(t, "somebody waits", awaited)
		before := word.Load()
		c.change()
		if got := word.Load(); got != before {
			t.Errorf("%s of %s, which changes nothing: the change word %#x has become %#x", c.what, c.on, before, got)
		}
	}
	for _, change := range []func(){
		func() { n.Add(1) }, func() { n.Store(1) }, func() { n.Swap(2) }, func() { n.CompareAndSwap(2, 3) },
		func() { n.Update(func(x float64) float64 { return x + 1 }) }, func() { fine(n.StoreContext(ctx, 77)) }, func() { fine(entries["n"].Parse("5")) },
	} {
		word := &agent.Cell(t, s, "n").Change.Word
		shmtest.Eventually(t, "somebody waits", func() bool { return word.Load()&format.Awaited != 0 })
		before := word.Load()
		if change(); word.Load() == before {
			t.Error("a change has woken nobody")
		}
	}
	for _, change := range []func(){
		func() { p.Store(padded{2, 2, 3}) }, func() { p.Update(func(x *padded) { x.B++ }) }, func() { fine(p.StoreContext(ctx, padded{})) },
		func() { fine(entries["p"].Parse("{C: 5}")) },
	} {
		word := &agent.Cell(t, s, "p").Change.Word
		shmtest.Eventually(t, "somebody waits", func() bool { return word.Load()&format.Awaited != 0 })
		before := word.Load()
		if change(); word.Load() == before {
			t.Error("a change has woken nobody")
		}
	}
	end()
	for range waits {
		<-gone
	}
}

// follow reads n pairs of a sequence, with a change after each.
func follow[T any](t *testing.T, changes iter.Seq2[uint64, T], n int, change func(i int)) (numbers []uint64, values []T) {
	t.Helper()
	shmtest.Within(t, "the changes", func() {
		for number, x := range changes {
			numbers, values = append(numbers, number), append(values, x)
			if len(numbers) == n {
				return
			}
			change(len(numbers))
		}
	})
	return numbers, values
}

func TestChanges(t *testing.T) {
	s := shmtest.Must(shm.Anonymous(nil))(t)
	n := shmtest.Must(shm.NewValue(s, "n", int64(0)))(t)
	p := shmtest.Must(shm.NewStruct(s, "p", padded{}))(t)
	text := shmtest.Must(shm.NewString(s, "text", 20))(t)
	for _, late := range []bool{false, true} { // whether the change comes while Changes waits
		after := func(change func()) {
			if late {
				time.AfterFunc(10*time.Millisecond, change)
			} else {
				change()
			}
		}
		n.Store(0)
		numbers, values := follow(t, n.Changes(t.Context()), 4, func(i int) { after(func() { n.Store(int64(10 * i)) }) })
		if !slices.Equal(numbers, []uint64{1, 2, 3, 4}) || !slices.Equal(values, []int64{0, 10, 20, 30}) {
			t.Errorf("Value: %v %v", numbers, values)
		}
		numbers, structs := follow(t, p.Changes(t.Context()), 4, func(i int) { after(func() { p.Update(func(x *padded) { x.B++ }) }) })
		for i := range 3 {
			if numbers[i+1] != numbers[i]+1 || structs[i+1].B != structs[i].B+1 {
				t.Errorf("Struct: %v %v", numbers, structs)
			}
		}
		numbers, texts := follow(t, text.Changes(t.Context()), 3, func(i int) {
			after(func() {
				if err := text.Store(fmt.Sprint(late, i)); err != nil {
					t.Error(err)
				}
			})
		})
		if numbers[2] != numbers[0]+2 || texts[1] != fmt.Sprint(late, 1) || texts[2] != fmt.Sprint(late, 2) {
			t.Errorf("String: %v %v", numbers, texts)
		}
	}
	// Commits in between are skipped, and what is no change is not one.
	first := true
	for number, x := range p.Changes(t.Context()) {
		if !first {
			if x.B != 1000 || number < 10 {
				t.Errorf("commit %d: %v", number, x)
			}
			break
		}
		first = false
		p.Update(func(*padded) {})
		for i := range 10 {
			p.Store(padded{B: int64(991 + i)})
		}
	}
	// It ends with its context, also beside a writer that never rests.
	ctx, cancel := context.WithCancel(t.Context())
	loops := 0
	for range n.Changes(ctx) {
		if loops++; loops == 5 {
			cancel()
		}
		n.Add(1)
	}
	if loops != 5 {
		t.Errorf("%d loops, of which the 5th has ended the context", loops)
	}
	for range n.Changes(ctx) {
		t.Error("a context that is done yields something")
	}
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	loops = 0
	for range text.Changes(ctx) {
		loops++
	}
	if loops != 1 {
		t.Errorf("%d texts, where nothing changes", loops)
	}
	// A sequence can be used twice.
	changes := n.Changes(t.Context())
	for range 2 {
		for number := range changes {
			if number != 1 {
				t.Errorf("it begins with %d", number)
			}
			break
		}
	}
}

// No commit is yielded twice and none goes back, beside writers in two goroutines, and
// each value belongs to its number.
func TestChangesBesideWriters(t *testing.T) {
	s := shmtest.Must(shm.Anonymous(nil))(t)
	p := shmtest.Must(shm.NewStruct(s, "p", [9]int64{}))(t)
	rounds := int64(shmtest.Rounds(20000))
	for range 2 {
		go func() {
			for range rounds {
				p.Update(func(x *[9]int64) {
					for i := range x {
						x[i]++
					}
				})
			}
		}()
	}
	last, lastCount := int64(-1), uint64(0)
	shmtest.Within(t, "the last change", func() {
		for count, x := range p.Changes(t.Context()) {
			if x[0] != x[8] || x[0] <= last || count <= lastCount && last >= 0 || last >= 0 && int64(count-lastCount) != x[0]-last {
				t.Errorf("commit %d is %v after %d, which was %d", count, x, lastCount, last)
			}
			if last, lastCount = x[0], count; last == 2*rounds {
				return
			}
		}
	})
}

// Close ends all that waits, also in a read-only attachment, when the last Segment
// that shares the memory is closed. Nobody is left.
func TestCloseEndsWaits(t *testing.T) {
	for _, readOnly := range []bool{false, true} {
		t.Run(fmt.Sprint("read-only: ", readOnly), func(t *testing.T) {
			name := shmtest.Name(t)
			owner := open(t, name, nil)
			shmtest.Must(shm.NewValue(owner, "n", int64(0)))(t)
			shmtest.Must(shm.NewStruct(owner, "p", padded{}))(t)
			shmtest.Must(shm.NewString(owner, "text", 8))(t)
			shmtest.Must(shm.NewMutex(owner, "mu"))(t)
			if !readOnly {
				owner.Close()
			}
			goroutines := runtime.NumGoroutine()
			if readOnly {
				goroutines++ // with which the owner answers readers, which may start later
			}
			options := &shm.Options{ReadOnly: readOnly}
			first, second := open(t, name, options), open(t, name, options)
			n := shmtest.Must(shm.NewValue(first, "n", int64(0)))(t)
			p := shmtest.Must(shm.NewStruct(first, "p", padded{}))(t)
			text := shmtest.Must(shm.NewString(first, "text", 8))(t)
			mu := shmtest.Must(shm.NewMutex(first, "mu"))(t)
			ctx := context.Background()
			waits := map[string]func() error{
				"Value.Await":   func() error { return shmtest.Error(n.Await(ctx, func(int64) bool { return false })) },
				"Struct.Await":  func() error { return shmtest.Error(p.Await(ctx, func(padded) bool { return false })) },
				"String.Await":  func() error { return shmtest.Error(text.Await(ctx, func(string) bool { return false })) },
				"Value.Changes": func() error { return ended(n.Changes(ctx)) }, "Struct.Changes": func() error { return ended(p.Changes(ctx)) },
				"String.Changes": func() error { return ended(text.Changes(ctx)) },
			}
			if !readOnly {
				mu.Lock()
				waits["LockContext"] = func() error { return mu.LockContext(ctx) }
				waits["Lock"] = func() error { err, _ := shmtest.Panic(mu.Lock).(error); return err }
			}
			type end struct {
				what string
				err  error
			}
			done := make(chan end, len(waits))
			for what, wait := range waits {
				go func() { done <- end{what, wait()} }()
			}
			waitFor := make(chan error, 1)
			go func() { waitFor <- shmtest.Error(first.WaitFor(ctx, "never")) }()
			time.Sleep(30 * time.Millisecond)
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			shmtest.Within(t, "WaitFor of the closed Segment", func() {
				if err := <-waitFor; !errors.Is(err, shm.ErrClosed) {
					t.Error(err)
				}
			})
			time.Sleep(30 * time.Millisecond)
			if len(done) != 0 {
				t.Errorf("%+v has ended, though another Segment shares the memory", <-done)
			}
			start := time.Now()
			if err := second.Close(); err != nil {
				t.Fatal(err)
			}
			for range waits {
				select {
				case e := <-done:
					if !errors.Is(e.err, shm.ErrClosed) {
						t.Errorf("%s: %v", e.what, e.err)
					}
				case <-time.After(10 * time.Second):
					t.Fatal("a wait goes on after Close")
				}
			}
			if late := time.Since(start); late > time.Second && !race.Enabled {
				t.Errorf("it took %v", late)
			}
			shmtest.Eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
			// What begins now does not wait either, and what need not wait goes on.
			for what, wait := range waits {
				if strings.Contains(what, "Await") {
					if err := wait(); !errors.Is(err, shm.ErrClosed) {
						t.Errorf("%s after Close: %v", what, err)
					}
				}
			}
			if x, err := n.Await(ctx, func(int64) bool { return true }); err != nil || x != 0 {
				t.Error(x, err)
			}
			if !readOnly {
				mu.Unlock()
				n.Add(1)
				if err := p.StoreContext(ctx, padded{A: 1}); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// ended returns ErrClosed when a sequence has ended.
func ended[T any](changes iter.Seq2[uint64, T]) error {
	for range changes {
	}
	return shm.ErrClosed
}
