package shm

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
)

// LockInfo is the state of a lock at one moment, for tools.
type LockInfo struct {
	Held      bool
	ID        uint32 // of the owner's attachment; 0 if the lock is free
	Pid       int    // of the owner in its own pid namespace; 0 if not known
	Program   string // name of the owner's program
	Alive     bool   // the owner lives, and may hold the lock as long as it likes; a dead owner's lock goes to the next that asks
	Reserved  bool   // free, but reserved for a long-waiting process
	Waiting   bool   // has, or had, waiters
	Abandoned bool   // what Mutex.Abandoned tells the next holder
	Takeovers uint32 // how often a dead owner has been replaced
}

// lockInfo reads the state of the lock at off. It probes the owner's lease through
// f, which must not be the description that holds this process's own lease: through
// that one, the lease would look free.
func (m *mapping) lockInfo(f *os.File, off int64) LockInfo {
	cell := mem.At[format.LockCell](&m.region, off)
	word := cell.Word.Load()
	owner := word & format.OwnerMask
	l := LockInfo{
		Held: owner != 0, ID: owner,
		Reserved: owner == 0 && word&format.KernelWaiters != 0, Waiting: word&(format.LocalWaiters|format.KernelWaiters) != 0,
		Abandoned: cell.Abandoned.Load() != 0, Takeovers: cell.Takeovers.Load(),
	}
	if l.Held {
		l.Alive = m.party.Held(f, owner)
		l.Pid, l.Program = m.party.Process(owner)
	}
	runtime.KeepAlive(m)
	return l
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
