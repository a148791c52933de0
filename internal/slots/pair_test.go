//go:build linux

package slots

import (
	"bytes"
	"math"
	"sync"
	"sync/atomic"
	"testing"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
)

// The slots are where the record says, and writers of one do not reach the other.
func TestAt(t *testing.T) {
	s := memtest.New(t)
	p := At(&s.Region, value, new(race.Cells).Token(value.Data))
	if p.Cell != mem.At[format.LockCell](&s.Region, value.Data) || p.Lock != nil {
		t.Error("the cell is not at the start of the data, or there is a lock")
	}
	for i, off := range []int64{format.LockedOffset, format.LockedOffset + format.RoundUp(capacity)} {
		if len(p.Data[i]) != capacity || cap(p.Data[i]) != capacity || &p.Data[i][0] != mem.At[byte](&s.Region, value.Data+off) {
			t.Errorf("slot %d has %d bytes, or is not %d bytes after the start", i, len(p.Data[i]), off)
		}
	}
}

// Beside writers that never pause, in this process and in another one, no copy has
// parts of two commits, and none is older than the one before.
func TestReadIsNeverTorn(t *testing.T) {
	s := memtest.New(t)
	a, b := newPair(t, s), newPair(t, memtest.Open(t, s.Path, false))
	ro := newPair(t, memtest.Open(t, s.Path, true))
	p := shmtest.Start(t, writer, s.Path, "writes on")
	p.Expect("writes")
	reads := shmtest.Rounds(5000)
	var reading, writing sync.WaitGroup
	var stop atomic.Bool
	writing.Go(func() {
		for !stop.Load() {
			a.add()
		}
	})
	for what, r := range map[string]*Pair{"the writer's own pair": a, "another mapping": b, "a read-only mapping": ro} {
		reading.Go(func() {
			last := uint64(0)
			for range reads {
				n, ok := r.load()
				if !ok || n < last {
					t.Errorf("%s: after %d: %d; whole: %v", what, last, n, ok)
					return
				}
				last = n
			}
		})
	}
	shmtest.Within(t, "readers beside writers", reading.Wait)
	stop.Store(true)
	writing.Wait()
	p.Wait()
	// No addition is lost.
	a.is(t, a.Cell.Commit.Load())
}

// TestReaderUnderAnEagerWriter commits during every copy: a reader that can lock
// does so after maxTries, one that cannot goes on until there is a gap.
func TestReaderUnderAnEagerWriter(t *testing.T) {
	s := memtest.New(t)
	v := newPair(t, s)
	ro := newPair(t, memtest.Open(t, s.Path, true))
	only := newPair(t, s)
	only.Lock = nil
	for what, c := range map[string]struct {
		pair *Pair
		want int
	}{
		"read-write":     {v, maxTries + 1},
		"read-only":      {ro, 10 * maxTries},
		"without a lock": {only, 10 * maxTries},
	} {
		tries := 0
		var got [capacity]byte
		c.pair.Read(func(slot []byte) {
			mem.CopyBytes(got[:], slot)
			if tries++; tries < 10*maxTries && v.Lock.TryLock() {
				v.Lock.Unlock()
				v.add()
			}
		})
		if n, ok := get(got[:]); tries != c.want || n != v.Cell.Commit.Load() || !ok {
			t.Errorf("%s: %d tries, want %d; %d, want %d; whole: %v", what, tries, c.want, n, v.Cell.Commit.Load(), ok)
		}
		v.add() // The lock is free.
	}
}

// TestReaderBesideAHolder: a reader that was overtaken often enough to ask for the
// lock does not wait for its holder, whether stopped or waiting for the reader.
func TestReaderBesideAHolder(t *testing.T) {
	s := memtest.New(t)
	v, other := newPair(t, s), newPair(t, memtest.Open(t, s.Path, false))
	for what, holder := range map[string]*Pair{"of its own process": v, "of another process": other} {
		holder.Lock.Lock()
		tries := 0
		shmtest.Within(t, "the copy beside a holder "+what, func() {
			v.Read(func([]byte) {
				if tries++; tries <= maxTries {
					v.Cell.Commit.Add(2) // as if the holder had been quick until now
				}
			})
		})
		if tries != maxTries+1 {
			t.Errorf("a holder %s: %d tries", what, tries)
		}
		holder.Lock.Unlock()
	}
}

// A writer that dies before it publishes has changed nothing, and the next one
// starts from what was committed.
func TestWriterThatDies(t *testing.T) {
	s := memtest.New(t)
	v := newPair(t, s)
	for n := range uint64(2) { // into each slot
		v.is(t, n)
		p := shmtest.Start(t, writer, s.Path, "dies")
		if line, ok := p.Next(); ok {
			t.Fatal(line)
		}
		p.Kill()
		if half, ok := get(v.Data[(n+1)&1]); half != 99 || ok {
			t.Fatal("the writer has not filled a half")
		}
		if v.Cell.Word.Load() == 0 {
			t.Fatal("the writer did not hold the lock")
		}
		v.is(t, n)
		v.add()
		v.is(t, n+1)
		if !v.Lock.TryLock() {
			t.Fatal("the lock is not free")
		}
		v.Lock.Unlock()
	}
}

// Amend shows the committed slot to change, and nobody sees what change does
// before Amend publishes it.
func TestAmend(t *testing.T) {
	s := memtest.New(t)
	v, ro := newPair(t, s), newPair(t, memtest.Open(t, s.Path, true))
	for n := range uint64(4) {
		idle := v.Data[(n+1)&1]
		set(idle, 77) // what an earlier writer has left
		v.Lock.Acquire()
		v.Amend(func(b []byte) {
			if &b[0] != &idle[0] || len(b) != capacity {
				t.Error("change is not given the idle slot")
			}
			if was, ok := get(b); was != n || !ok {
				t.Errorf("change is given %d, want %d; whole: %v", was, n, ok)
			}
			set(b, n+1)
			ro.is(t, n)
		})
		ro.is(t, n+1)
		if was, ok := get(v.Data[n&1]); was != n || !ok || v.Cell.Commit.Load() != n+1 {
			t.Error("the slot that was committed before has changed, or the counter is wrong")
		}
		v.Lock.Release()
	}
	v.Lock.Acquire()
	if got := shmtest.Panic(func() { v.Amend(func(b []byte) { set(b, 5); panic("no") }) }); got != "no" {
		t.Errorf("a panic of change became %v", got)
	}
	v.Lock.Release()
	v.is(t, 4)
	v.add()
	v.is(t, 5)
}

// Publish commits the slot that its count says is idle, also where the counter
// starts again.
func TestPublish(t *testing.T) {
	v := newPair(t, memtest.New(t))
	v.Cell.Commit.Store(math.MaxUint64 - 2)
	for n := range uint64(5) {
		v.Lock.Acquire()
		count := v.Cell.Commit.Load()
		set(v.Data[(count+1)&1], n)
		v.Publish(count)
		v.Lock.Release()
		v.is(t, n)
		if want := n - 2; v.Cell.Commit.Load() != want { // modulo 1<<64
			t.Errorf("commit %d: the counter is %d, want %d", n, v.Cell.Commit.Load(), want)
		}
	}
}

func TestCarry(t *testing.T) {
	v := newPair(t, memtest.New(t))
	for _, count := range []uint64{0, 1} {
		for what, c := range map[string]struct {
			extent uint32
			n      int
			end    int // of what is carried; n: nothing
		}{
			"nobody has reached": {0, 16, 16},
			"a shorter type":     {8, 16, 16},
			"the same type":      {16, 16, 16},
			"a longer type":      {40, 16, 40},
			"one byte longer":    {17, 16, 17},
			"the whole slot":     {capacity, 16, capacity},
			"a corrupt extent":   {math.MaxUint32, 16, capacity},
			"all of it written":  {math.MaxUint32, capacity, capacity},
			"nothing written":    {40, 0, 40},
		} {
			committed, idle := v.Data[count&1], v.Data[(count+1)&1]
			set(committed, 0x0101010101010101)
			set(idle, 0x0202020202020202)
			v.Cell.Extent.Store(c.extent)
			v.Carry(count, c.n)
			want := bytes.Repeat([]byte{2}, capacity)
			copy(want[c.n:c.end], committed[c.n:c.end])
			if !bytes.Equal(idle, want) {
				t.Errorf("%s: the idle slot is wrong at byte %d", what, firstDifference(idle, want))
			}
			if !bytes.Equal(committed, bytes.Repeat([]byte{1}, capacity)) {
				t.Errorf("%s: the committed slot has changed", what)
			}
		}
	}
}

func firstDifference(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}

// Reach raises the extent and never lowers it, whoever calls it at the same time.
func TestReach(t *testing.T) {
	s := memtest.New(t)
	v, other := newPair(t, s), newPair(t, memtest.Open(t, s.Path, false))
	for _, c := range []struct{ n, want uint32 }{{0, 0}, {16, 16}, {8, 16}, {16, 16}, {17, 17}, {0, 17}} {
		if v.Reach(c.n); v.Cell.Extent.Load() != c.want {
			t.Errorf("after Reach(%d) the extent is %d, want %d", c.n, v.Cell.Extent.Load(), c.want)
		}
	}
	const goroutines, each = 4, 500
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			p := []*Pair{v, other}[g%2]
			for i := range each {
				n := uint32(100 + i*goroutines + g)
				if p.Reach(n); p.Cell.Extent.Load() < n {
					t.Errorf("the extent is below %d", n)
				}
			}
		})
	}
	wg.Wait()
	if got, want := v.Cell.Extent.Load(), uint32(100+goroutines*each-1); got != want {
		t.Errorf("the extent is %d, want %d", got, want)
	}
}
