package robust

import (
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/wait"
)

// tryLockSlow is TryLock of a word that is not free: its owner may be dead, or
// it may have a reservation that nobody came for.
func (l *Lock) tryLockSlow() bool {
	c := l.cell
	w := c.Word.Load()
	switch owner := w & format.OwnerMask; {
	case owner == 0 && (w == 0 || l.party.MayProbe(&c.Probed, probeEvery)):
		taken := c.Word.CompareAndSwap(w, l.id|w)
		killpoint.At(killpoint.TryLockedSlow)
		return taken
	case owner == 0 || owner == l.id:
		return false
	}
	return l.takeOver(w, 0) // it does not try again, so a probe of before is no answer
}

// takeOver replaces a dead owner. It replaces the very word that was read before
// the owner's lease was found free, so a process that has taken the lock since
// is not robbed. KernelWaiters is set, because nobody knows who sleeps. It probes only if
// the last probe was at least the duration every ago.
func (l *Lock) takeOver(w uint32, every time.Duration) bool {
	owner := w & format.OwnerMask
	if !l.party.Dead(owner) && (!l.party.MayProbe(&l.cell.Probed, every) || l.party.Alive(owner)) {
		return false
	}
	return l.party.replace(l.cell, w)
}

// replace takes a lock, whose word was w, from its owner, which is dead.
func (p *Party) replace(cell *format.LockCell, w uint32) bool {
	if !cell.Word.CompareAndSwap(w, p.ID()|format.KernelWaiters) {
		return false
	}
	killpoint.At(killpoint.TakenOver)
	cell.Abandoned.Store(1)
	killpoint.At(killpoint.TakeoverMarked)
	cell.Takeovers.Add(1)
	killpoint.At(killpoint.TakeoverCounted)
	// The dead process may have changed something and told nobody.
	wait.WakeAll(&cell.Change)
	return true
}
