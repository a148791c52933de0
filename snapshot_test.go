//go:build linux

package shm_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// snapshotValues are values that a writer changes one after the other, so that at each
// instant A is what B is or one more, and so on.
type snapshotValues struct {
	A    shm.Struct[[4]int64] `shm:"a"`
	B    shm.Table[int64]     `shm:"b,len=2"`
	Text shm.String           `shm:"text,len=16"`
	Ring shm.Ring[int64]      `shm:"ring,len=2"`
}

// set sets all values to n.
func (v *snapshotValues) set(n int64) error {
	v.A.Store([4]int64{n, n, n, n})
	v.B.Row(0).Store(n)
	v.B.Row(1).Store(n)
	err := v.Text.Store(fmt.Sprint(n))
	v.Ring.Append(n)
	return err
}

// snapshotWriter changes the values without a pause, until it is killed.
var snapshotWriter = shmtest.Helper("snapshotWriter", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	var v snapshotValues
	if err := shm.Bind(s, &v); err != nil {
		return err
	}
	for n := int64(1); ; n++ {
		if err := v.set(n); err != nil {
			return err
		}
		if n == 1 {
			fmt.Fprintln(os.Stdout, "writes")
		}
	}
})

// What Snapshot reads was there at one instant, also beside a writer that never rests,
// with locks and in an attachment that can take none.
func TestSnapshot(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	var v, ro snapshotValues
	if err := errors.Join(shm.Bind(s, &v), v.set(0), shm.Bind(open(t, name, &shm.Options{ReadOnly: true}), &ro)); err != nil {
		t.Fatal(err)
	}
	p := shmtest.Start(t, snapshotWriter, name)
	p.Expect("writes")
	var wg sync.WaitGroup
	for what, v := range map[string]*snapshotValues{"read-write": &v, "read-only": &ro} {
		wg.Go(func() {
			last := int64(0)
			for range shmtest.Rounds(1000) {
				var a [4]int64
				var b0, b1, r int64
				var text string
				err := shm.Snapshot(func() {
					a, b0, b1, text = v.A.Load(), v.B.Row(0).Load(), v.B.Row(1).Load(), v.Text.Load()
					r, _, _ = v.Ring.Last()
				}, v.A, v.B, v.Text, v.Ring)
				var n int64
				_, scanErr := fmt.Sscan(text, &n)
				// Each value is what the one after it is, or one more; the first is never two ahead of the last.
				ordered := a[0] >= b0 && b0 >= b1 && b1 >= n && n >= r && a[0] <= r+1
				if err != nil || scanErr != nil || !ordered || a[0] < last {
					t.Errorf("%s: %d, %d, %d, %s, %d after %d: %v", what, a, b0, b1, text, r, last, err)
					return
				}
				last = a[0]
			}
		})
	}
	shmtest.Within(t, "snapshots beside a writer", wg.Wait)
	p.Kill()
}

// Beside a process that stops with a lock, Snapshot goes on; a panic of read leaves no
// lock held.
func TestSnapshotUnderLocks(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	a := shmtest.Must(shm.NewStruct(s, "a", int64(0)))(t)
	b := shmtest.Must(shm.NewStruct(s, "b", int64(0)))(t)
	if err := shm.Snapshot(func() {}); err != nil {
		t.Errorf("of nothing: %v", err)
	}
	b.Mutex().Lock()
	calls := 0
	shmtest.Within(t, "a snapshot beside a holder", func() {
		// The values change during each call that holds no lock of a.
		if err := shm.Snapshot(func() {
			calls++
			if a.Mutex().TryLock() {
				a.Mutex().Unlock()
				a.Store(a.Load() + 1)
			}
		}, a, b, a); err != nil {
			t.Error(err)
		}
	})
	if calls != 65 {
		t.Errorf("%d calls", calls)
	}
	b.Mutex().Unlock()
	var moving atomic.Int64
	if got := shmtest.Panic(func() {
		_ = shm.Snapshot(func() {
			if moving.Add(1) > 64 {
				panic("no")
			}
			a.Store(a.Load() + 1)
			b.Store(b.Load() + 1)
		}, b, a)
	}); got != "no" {
		t.Errorf("a panic became %v", got)
	}
	for what, v := range map[string]shm.Struct[int64]{"a": a, "b": b} {
		if !v.Mutex().TryLock() {
			t.Fatalf("the lock of %s is held", what)
		}
		v.Mutex().Unlock()
	}
	// Values that did not move at first are checked by their number.
	a.Store(1)
	first := true
	if err := shm.Snapshot(func() {
		if first {
			b.Store(b.Load() + 1)
		}
		first = false
	}, a, b); err != nil || first {
		t.Error(err)
	}
}

// An attachment that may take no lock gives up beside values that never rest.
func TestSnapshotGivesUp(t *testing.T) {
	defer shm.LimitSnapshots(time.Millisecond)()
	name := shmtest.Name(t)
	a := shmtest.Must(shm.NewStruct(open(t, name, nil), "a", int64(0)))(t)
	ro := shmtest.Must(shm.NewStruct(open(t, name, &shm.Options{ReadOnly: true}), "a", int64(0)))(t)
	calls := 0
	err := shm.Snapshot(func() { calls++; a.Store(a.Load() + 1) }, ro)
	if !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), fmt.Sprint(calls, " calls")) {
		t.Errorf("%d calls: %v", calls, err)
	}
}
