//go:build linux

package shm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"example.org/shm/internal/wait"
	"example.org/shm/test/agent"
)

// Every way to change a value wakes those that await it, in this process and in
// others.
func TestAwaitWakes(t *testing.T) {
	s, v := agent.Locked(t)
	cell := agent.Cell(t, s, "n")
	readOnly := shmtest.Must(shm.NewValue[int64](open(t, s.Name(), &shm.Options{ReadOnly: true}), "n", 0))(t)
	p := agent.Start(t, s.Name())
	next := int64(0)
	for _, c := range []struct {
		how    string
		change func(to int64)
	}{
		{"Store", v.Store},
		{"Add", func(to int64) { v.Add(to - v.Load()) }},
		{"Swap", func(to int64) { v.Swap(to) }},
		{"CompareAndSwap", func(to int64) { v.CompareAndSwap(v.Load(), to) }},
		{"Update", func(to int64) { v.Update(func(int64) int64 { return to }) }},
		{"raw under the lock", func(to int64) { v.Mutex().Lock(); v.Raw().Set(to); v.Mutex().Unlock() }},
		{"another process's Add", func(to int64) { p.Do(fmt.Sprint("add ", to-v.Load()), "added") }},
		{"another process, raw", func(to int64) {
			p.Do("lock", "locked")
			p.Do(fmt.Sprint("set ", to), "set")
			p.Do("unlock", "unlocked")
		}},
		{"a process that dies in the lock", func(to int64) {
			q := agent.Start(t, s.Name())
			q.Do("lock", "locked")
			q.Do(fmt.Sprint("set ", to), "set")
			q.Kill()
			v.Mutex().Lock()
			//lint:ignore SA2001 that it can be taken is what is tested
			v.Mutex().Unlock()
		}},
		{"a process that dies in the lock, which nobody wants", func(to int64) {
			q := agent.Start(t, s.Name())
			q.Do("lock", "locked")
			q.Do(fmt.Sprint("set ", to), "set")
			q.Kill()
		}},
		{"a storer that dies before it can wake", func(to int64) {
			v.Mutex().Lock()
			v.Raw().Set(to)
			cell.Word.And(^uint32(format.OwnerMask)) // unlocks, and wakes nobody
		}},
	} {
		t.Run(c.how, func(t *testing.T) {
			next += 10
			from, to := next-10, next
			other := agent.Start(t, s.Name())
			other.Say(fmt.Sprint("await ", to))
			var wg sync.WaitGroup
			for _, v := range []shm.Value[int64]{v, v, readOnly} {
				wg.Go(func() {
					got, err := v.Await(t.Context(), func(x int64) bool { return x > from })
					if err != nil || got <= from {
						t.Errorf("awaited %d: %d, %v", to, got, err)
					}
				})
			}
			shmtest.Eventually(t, "the value is awaited", func() bool { return cell.Change.Word.Load()&format.Awaited != 0 })
			c.change(to)
			shmtest.Within(t, "those that await the change see it", wg.Wait)
			other.Expect(fmt.Sprint("saw ", to, " <nil>"))
		})
	}
}

func TestAwaitGivesUp(t *testing.T) {
	s, v := agent.Locked(t)
	readOnly := shmtest.Must(shm.NewValue[int64](open(t, s.Name(), &shm.Options{ReadOnly: true}), "n", 0))(t)
	for _, v := range []shm.Value[int64]{v, readOnly} {
		var wg sync.WaitGroup
		for i := range 20 { // one sleeps in the kernel, the others behind it
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
				defer cancel()
				if x, err := v.Await(ctx, func(int64) bool { return false }); !errors.Is(err, context.DeadlineExceeded) || x != 0 || !strings.Contains(err.Error(), `"n"`) {
					t.Errorf("got %d, %v", x, err)
				}
			})
		}
		shmtest.Within(t, "all give up", wg.Wait)
	}
}

// To await what does not come costs next to nothing.
func TestAwaitingIsIdle(t *testing.T) {
	t.Parallel()
	span := 2 * time.Second
	if *shmtest.StormLength > 10*time.Second {
		span = *shmtest.StormLength
	}
	s, _ := agent.Locked(t)
	lines := []string{"goAwait 1000"}
	if sys.CanWaitAny() { // else one goroutine looks, a hundred times a second
		lines = append(lines, "goAwaitEach 1000")
	}
	var all []*shmtest.Process
	for _, line := range lines {
		p := agent.Start(t, s.Name())
		p.Do(line, "awaiting")
		all = append(all, p)
	}
	time.Sleep(time.Second) // the first looks come soon after each other
	var before []time.Duration
	for _, p := range all {
		before = append(before, shmtest.CPU(t, p))
	}
	time.Sleep(span) // the measurement itself
	for i, p := range all {
		used := shmtest.CPU(t, p) - before[i]
		t.Logf("%s: %v of CPU in %v", lines[i], used, span)
		if used > span/20 {
			t.Errorf("%s: %v of CPU in %v", lines[i], used, span)
		}
	}
}

// announcer changes what others await once it is told to.
var announcer = shmtest.Helper("announcer", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	p, err := shm.NewStruct(s, "p", pair{})
	if err != nil {
		return err
	}
	text, err := shm.NewString(s, "text", 8)
	if err != nil {
		return err
	}
	if _, err := fmt.Fscanln(os.Stdin); err != nil {
		return err
	}
	p.Store(pair{A: 1})
	p.Update(func(p *pair) { p.B = 2 })
	return text.Store("done")
})

func TestAwaitOfStructAndString(t *testing.T) {
	name := shmtest.Name(t)
	rw, ro := open(t, name, nil), open(t, name, &shm.Options{ReadOnly: true})
	shmtest.Must(shm.NewStruct(rw, "p", pair{}))(t)
	shmtest.Must(shm.NewString(rw, "text", 8))(t)
	other := shmtest.Start(t, announcer, name)
	var wg sync.WaitGroup
	for _, s := range []*shm.Segment{rw, rw, ro} {
		p, text := shmtest.Must(shm.NewStruct(s, "p", pair{}))(t), shmtest.Must(shm.NewString(s, "text", 0))(t)
		wg.Go(func() {
			if x, err := p.Await(t.Context(), func(p pair) bool { return p.A > 0 && p.B > 0 }); err != nil || x != (pair{A: 1, B: 2}) {
				t.Errorf("%+v, %v", x, err)
			}
		})
		wg.Go(func() {
			if x, err := text.Await(t.Context(), func(s string) bool { return s != "" }); err != nil || x != "done" {
				t.Errorf("%q, %v", x, err)
			}
		})
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			if _, err := p.Await(ctx, func(p pair) bool { return false }); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `"p"`) {
				t.Errorf("%v", err)
			}
		})
	}
	p := shmtest.Must(shm.NewStruct(rw, "p", pair{}))(t)
	pCell, textCell := agent.Cell(t, rw, "p"), agent.Cell(t, rw, "text")
	shmtest.Eventually(t, "both are awaited", func() bool {
		return pCell.Change.Word.Load()&format.Awaited != 0 && textCell.Change.Word.Load()&format.Awaited != 0
	})
	other.Say("")
	wg.Wait()
	// Await of what is true already does not wait, and needs no context.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if x, err := p.Await(ctx, func(p pair) bool { return true }); err != nil || x.B != 2 {
		t.Errorf("%+v, %v", x, err)
	}
}

// TestEveryChangeIsTold looks at the word on which those that await a change sleep.
// If a change did not wake them, a time-out would, only later.
func TestEveryChangeIsTold(t *testing.T) {
	s, n := agent.Locked(t)
	v := shmtest.Must(shm.NewStruct(s, "struct", grow1{}))(t)
	text := shmtest.Must(shm.NewString(s, "text", 8))(t)
	a := shmtest.Must(shm.NewArray[int32](s, "array", 2))(t)
	other := shmtest.Must(shm.NewRawValue[int8](s, "other", 0))(t)
	sharing := shm.Synchronized(other, n.Mutex())
	word := func(name string) *format.ChangeWord { return &agent.Cell(t, s, name).Change }
	names := &agent.Header(t, s).Names
	ofStruct, ofText, ofArray, ofN := word("struct"), word("text"), word("array"), word("n")
	p, doomed := agent.Start(t, s.Name()), agent.Start(t, s.Name())
	none := func(f func()) func() error { return func() error { f(); return nil } }
	under := func(lock func()) func() error {
		return none(func() { lock(); n.Raw().Set(1); n.Mutex().Unlock() })
	}
	for _, c := range []struct {
		what   string
		change *format.ChangeWord
		do     func() error
	}{
		{"Struct.Store", ofStruct, none(func() { v.Store(grow1{A: 1}) })},
		{"Struct.Update", ofStruct, none(func() { v.Update(func(p *grow1) { p.A++ }) })},
		{"String.Store", ofText, func() error { return text.Store("x") }},
		{"Array.Store", ofArray, none(func() { a.Store(0, 1) })},
		{"Array.Add", ofArray, none(func() { a.Add(0, 1) })},
		{"Array.WithLock", ofArray, none(func() { a.WithLock(func(s []int32) { s[1] = 1 }) })},
		{"Parse, struct", ofStruct, func() error { return lookup(t, s, "struct").Parse("{B: 1}") }},
		{"Parse, text", ofText, func() error { return lookup(t, s, "text").Parse("y") }},
		{"Parse, array", ofArray, func() error { return lookup(t, s, "array").Parse("[1, 2]") }},
		{"Value.Store", ofN, none(func() { n.Store(1) })},
		{"Value.Swap", ofN, none(func() { n.Swap(2) })},
		{"Value.CompareAndSwap", ofN, none(func() { n.CompareAndSwap(2, 3) })},
		{"Value.Add", ofN, none(func() { n.Add(1) })},
		{"Value.Update", ofN, none(func() { n.Update(func(x int64) int64 { return x + 1 }) })},
		{"Parse, number", ofN, func() error { return lookup(t, s, "n").Parse("7") }},
		{"raw under Lock", ofN, under(n.Mutex().Lock)},
		{"raw under TryLock", ofN, under(func() { n.Mutex().TryLock() })},
		{"raw under LockContext", ofN, under(func() { _ = n.Mutex().LockContext(t.Context()) })},
		{"a number that shares the lock", ofN, none(func() { sharing.Store(1) })},
		{"another process's Add", ofN, none(func() { p.Do("add 1", "added") })},
		{"another process, raw", ofN, none(func() { p.Do("lock", "locked"); p.Do("set 9", "set"); p.Do("unlock", "unlocked") })},
		{"a takeover", ofN, none(func() { doomed.Do("lock", "locked"); doomed.Kill(); n.Mutex().Lock() })},
		{"a new name", names, func() error { return shmtest.Error(shm.NewMutex(s, "mutex")) }},
		{"a longer type", names, func() error { return shmtest.Error(shm.NewStruct(s, "struct", grow2{})) }},
	} {
		before := wait.Announce(c.change)
		if err := c.do(); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		if c.change.Word.Load() == before {
			t.Errorf("%s tells nobody", c.what)
		}
	}
}

// waitFor waits for a value and prints what it is.
var waitFor = shmtest.Helper("waitFor", func(args []string) error {
	s, err := shm.Open(args[0], &shm.Options{ReadOnly: args[1] == "ro"})
	if err != nil {
		return err
	}
	fmt.Println("waiting")
	e, err := s.WaitFor(context.Background(), "late")
	if err != nil {
		return err
	}
	fmt.Println(e.Name, e.Layout.Format, e.Len, e.Access)
	return nil
})

func TestWaitForAValueOfAnotherProcess(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	var all []*shmtest.Process
	for _, mode := range []string{"rw", "ro", "rw"} {
		p := shmtest.Start(t, waitFor, name, mode)
		p.Expect("waiting")
		all = append(all, p)
	}
	shmtest.Must(shm.NewRawValue(s, "early", int8(1)))(t)
	shmtest.Must(shm.NewRawArray[float32](s, "late", 9))(t)
	for _, p := range all {
		p.Expect("late " + shmtest.Must(shm.LayoutOf[float32]())(t).Format + " 9 raw")
		p.Wait()
	}
}

func TestWaitForEnds(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	for range 3 {
		go func() {
			_, err := s.WaitFor(ctx, "never")
			done <- err
		}()
	}
	cancel()
	for range 3 {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"", strings.Repeat("n", 256), "a\nb", "\xff"} { // no value can have it
		if _, err := s.WaitFor(t.Context(), name); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	shmtest.Must(shm.NewRawValue(s, "n", int8(1)))(t)
	if e, err := s.WaitFor(ctx, "n"); err != nil || e.Name != "n" {
		t.Fatalf("what is there already: %+v, %v", e, err)
	}
	go func() {
		_, err := s.WaitFor(t.Context(), "never")
		done <- err
	}()
	s.Close()
	if err := <-done; !errors.Is(err, shm.ErrClosed) {
		t.Fatal(err)
	}
	// Two attachments share a mapping. One goroutine sleeps in the kernel for both
	// of them, and Close of either is heard.
	name := shmtest.Name(t)
	first, second := open(t, name, nil), open(t, name, nil)
	for i, s := range []*shm.Segment{first, second} {
		go func() {
			_, err := s.WaitFor(t.Context(), "never")
			done <- err
		}()
		shmtest.Eventually(t, "it waits", func() bool { return asleep() == i+1 })
	}
	for _, s := range []*shm.Segment{second, first} {
		s.Close()
		shmtest.Within(t, "WaitFor in a closed segment returns", func() {
			if err := <-done; !errors.Is(err, shm.ErrClosed) {
				t.Error(err)
			}
		})
	}
}

// asleep returns how many goroutines of this process await a change and sleep: at
// most one of each word's in the kernel, the others in Go.
func asleep() (n int) {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range bytes.SplitSeq(stacks, []byte("\n\n")) {
		state, _, _ := bytes.Cut(stack, []byte("\n"))
		if bytes.Contains(stack, []byte("wait.(*Group).Wait(")) && (bytes.Contains(state, []byte("[select")) || bytes.Contains(state, []byte("[syscall"))) {
			n++
		}
	}
	return n
}
