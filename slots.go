package shm

import (
	"context"
	"runtime"
	"time"
)

// slots is the memory of a published value: two places for it, and in the lock
// cell a counter of commits whose low bit names the place that is committed.
//
// Invariant: the committed slot is never written. A writer, under the lock,
// fills the other one with plain stores and publishes it by one store of the
// counter; who dies before that store has changed nothing. It commits once a
// lock hold: the unlock and the next lock, a release and an acquire of the same
// word, order the next fill behind this publication for every reader.
//
// A reader takes a copy that was made between two loads of the same count. The
// whole counter is compared: the low bit is the same again two commits later,
// when the slot that was being copied has been filled anew.
type slots struct {
	mu    *Mutex // nil for who only reads
	m     *mapping
	token raceToken
	cell  *lockCell // in the mapping, also where it is read-only
	data  [2][]byte // capacity bytes each
}

// readSlotsOf returns the slots of a published value for reading alone, which
// needs no lease.
func (m *mapping) readSlotsOf(r *record) *slots {
	first := r.elements()
	n := int(r.capacity)
	return &slots{m: m, token: m.file.cells.token(r.data), cell: at[lockCell](m, r.data), data: [2][]byte{
		sliceAt[byte](m, first, n), sliceAt[byte](m, first+roundUp(r.capacity), n),
	}}
}

func (m *mapping) slotsOf(r *record) *slots {
	s := m.readSlotsOf(r)
	s.mu = m.mutexOf(r)
	return s
}

// maxTries is how often a reader copies before it asks the writers to wait. One
// under a writer that never rests was seen to try 2,334 times. It waits for the
// lock no longer than lockAtMost: a holder that has stopped, or that waits for
// this very reader, commits no more, so that the next copy is good.
const (
	maxTries   = 64
	lockAtMost = 10 * time.Millisecond
)

// read calls copySlot with the committed slot until no commit came in between;
// copySlot makes its copy with loads that this processor keeps in order.
func (s *slots) read(copySlot func(slot []byte)) {
	for tries := 1; ; tries++ {
		count := s.cell.commit.Load()
		copySlot(s.data[count&1])
		if s.cell.commit.Load() == count {
			break
		}
		if tries%maxTries != 0 {
			continue
		}
		if s.mu == nil || s.m.readOnly {
			runtime.Gosched() // it cannot lock
			continue
		}
		if s.lockBriefly() {
			copySlot(s.data[s.cell.commit.Load()&1])
			s.mu.unlock()
			break
		}
	}
	s.token.acquire()
	runtime.KeepAlive(s.m)
}

func (s *slots) lockBriefly() bool {
	ctx, cancel := context.WithTimeout(context.Background(), lockAtMost)
	defer cancel()
	return s.mu.lockSlow(ctx) == nil
}

// amend publishes a copy of the committed slot in which change has been made.
// The lock is held, and must be released before the next commit.
func (s *slots) amend(change func(idle []byte)) {
	count := s.cell.commit.Load()
	idle := s.data[(count+1)&1]
	copy(idle, s.data[count&1])
	killPoint(46)
	change(idle)
	s.publish(count)
}

// publish commits the idle slot. The lock is held, and must be released before
// the next commit.
func (s *slots) publish(count uint64) {
	killPoint(47)
	s.token.release() // a Load may see it before the Unlock
	storeRelease(&s.cell.commit, count+1)
	killPoint(48)
}

// carry copies from the committed to the idle slot what a newer program may
// keep behind the first n bytes.
func (s *slots) carry(count uint64, n int) {
	if end := min(int(s.cell.extent.Load()), len(s.data[0])); end > n {
		copy(s.data[(count+1)&1][n:end], s.data[count&1][n:end])
		killPoint(49)
	}
}

// reach makes writers carry over at least n bytes. It comes before the first
// commit of whoever needs it, and the lock orders it before those of others.
func (s *slots) reach(n uint32) {
	for {
		old := s.cell.extent.Load()
		if old >= n || s.cell.extent.CompareAndSwap(old, n) {
			killPoint(50)
			return
		}
	}
}
