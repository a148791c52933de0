package shm

import (
	"fmt"
	"runtime"
	"strings"

	"example.org/shm/internal/format"
	"example.org/shm/internal/lease"
	"example.org/shm/internal/mem"
)

// LockInfo is the state of a lock at one moment, for tools.
type LockInfo struct {
	Held      bool
	ID        uint32 // of the owner's attachment; 0 if the lock is free
	Pid       int    // of the owner in its own pid namespace; 0 if not known
	Program   string // of the owner
	Alive     bool   // the owner lives, and may hold the lock as long as it likes; a dead owner's lock goes to the next that asks
	Reserved  bool   // free, but reserved for a long-waiting process
	Waiting   bool   // has, or had, waiters
	Abandoned bool   // what Mutex.Abandoned tells the next holder
	Takeovers uint32 // how often a dead owner has been replaced
}

// Lock returns the state of the value's lock, without waiting for the lock. It
// returns false for a value that has none.
func (e Entry) Lock() (LockInfo, bool) {
	r, m := e.record, e.m
	if !r.HasLock() {
		return LockInfo{}, false
	}
	cell := mem.At[format.LockCell](&m.region, r.Data)
	word := cell.Word.Load()
	owner := word & format.OwnerMask
	l := LockInfo{
		Held: owner != 0, ID: owner,
		Reserved: owner == 0 && word&format.KernelWaiters != 0, Waiting: word&(format.LocalWaiters|format.KernelWaiters) != 0,
		Abandoned: cell.Abandoned.Load() != 0, Takeovers: cell.Takeovers.Load(),
	}
	if l.Held {
		// Not through the description that holds this process's own lease, which
		// would look free there.
		l.Alive = lease.Held(e.s.file, owner)
		l.Pid, l.Program = m.party.Process(owner)
	}
	runtime.KeepAlive(m)
	return l, true
}

// String describes the state in one line.
func (l LockInfo) String() string {
	var b strings.Builder
	switch {
	case l.Reserved:
		b.WriteString("free, reserved for a long-waiting process")
	case !l.Held:
		b.WriteString("free")
	case l.Pid == 0:
		fmt.Fprintf(&b, "held by id %d", l.ID)
	default:
		fmt.Fprintf(&b, "held by %q (pid %d)", l.Program, l.Pid)
	}
	if l.Held && !l.Alive {
		b.WriteString(", which is dead")
	}
	if l.Waiting && l.Held {
		b.WriteString(", has, or had, waiters")
	}
	if l.Abandoned {
		b.WriteString(", abandoned")
	}
	if l.Takeovers > 0 {
		fmt.Fprintf(&b, ", takeovers: %d", l.Takeovers)
	}
	return b.String()
}
