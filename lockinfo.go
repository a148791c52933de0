package shm

import (
	"fmt"
	"runtime"
	"strings"
)

// LockInfo is the state of a lock for tools, as it was for a moment.
type LockInfo struct {
	Held      bool
	ID        uint32 // of the owner's attachment; 0 if it is free
	Pid       int    // of the owner in its own pid namespace; 0 if not known
	Program   string // of the owner
	Alive     bool   // of an owner: it may hold the lock for as long as it likes; a dead one's is for the next who asks
	Reserved  bool   // free, but kept for somebody who has waited long
	Waiting   bool   // somebody waits, or did and has given up
	Abandoned bool   // what Mutex.Abandoned tells the next holder
	Takeovers uint32 // how often a dead owner has been replaced
}

// Lock returns the state of the value's lock, without waiting for it; false
// for a value that has none.
func (e Entry) Lock() (LockInfo, bool) {
	r, m := e.record, e.m
	if !r.hasLock() {
		return LockInfo{}, false
	}
	cell := at[lockCell](m, r.data)
	word := cell.word.Load()
	owner := word & ownerMask
	l := LockInfo{
		Held: owner != 0, ID: owner,
		Reserved: owner == 0 && word&wordW != 0, Waiting: word&(wordL|wordW) != 0,
		Abandoned: cell.abandoned.Load() != 0, Takeovers: cell.takeovers.Load(),
	}
	if l.Held {
		// Through a description that is not the lease's own, on which it would look
		// free.
		l.Alive = leased(e.s.file, owner)
		l.Pid, l.Program = m.attachment(owner)
	}
	runtime.KeepAlive(m)
	return l, true
}

// attachment returns the process that attached under an id, as far as the table
// still knows.
func (m *mapping) attachment(id uint32) (pid int, program string) {
	entry := &m.table[id%tableLen]
	name := entry.program
	pid = int(entry.pid)
	if entry.id.Load() != id {
		return 0, ""
	}
	program, _, _ = strings.Cut(string(name[:]), "\x00")
	return pid, program
}

// String words the state in a line.
func (l LockInfo) String() string {
	var b strings.Builder
	switch {
	case l.Reserved:
		b.WriteString("free, reserved for who has waited long")
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
		b.WriteString(", somebody waits or did")
	}
	if l.Abandoned {
		b.WriteString(", abandoned")
	}
	if l.Takeovers > 0 {
		fmt.Fprintf(&b, ", takeovers: %d", l.Takeovers)
	}
	return b.String()
}
