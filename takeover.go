package shm

import (
	"sync/atomic"
	"time"
)

// takeOver replaces a dead owner: by a compare-and-swap from the very word that
// was seen before the owner's lease was found free, so that nobody who has got
// it since is robbed. wordW is set, since nobody knows who sleeps.
func (mu *Mutex) takeOver(w uint32) bool {
	owner := w & ownerMask
	if !mu.m.dead.has(owner) && (!mu.mayProbe(probeEvery) || mu.m.alive(owner)) {
		return false
	}
	if !mu.cell.word.CompareAndSwap(w, mu.id|wordW) {
		return false
	}
	killPoint(19)
	mu.cell.abandoned.Store(1)
	killPoint(20)
	mu.cell.takeovers.Add(1)
	killPoint(21)
	// The dead one may have changed something and told nobody.
	mu.cell.change.wakeAll()
	return true
}

// graveyard has ids whose lease was found free: such an id never lives again. It
// forgets some for others, and who is forgotten is only probed again.
type graveyard [64]atomic.Uint32

func (g *graveyard) add(id uint32)      { g[id%uint32(len(g))].Store(id) }
func (g *graveyard) has(id uint32) bool { return id != 0 && g[id%uint32(len(g))].Load() == id }

// mayProbe says whether this goroutine is the one to look at the owner's lease:
// one of all processes, if the last look is long enough ago. A stamp from the
// future is somebody's error, and as good as an old one.
func (mu *Mutex) mayProbe(every time.Duration) bool {
	last, now := mu.cell.probed.Load(), monotonic()
	if now < mu.m.watches.blindUntil.Load() {
		return false
	}
	// Unsigned, so that the future is long ago.
	if uint64(now-last) < uint64(every) || !mu.cell.probed.CompareAndSwap(last, now) {
		return false
	}
	killPoint(22)
	return true
}
