//go:build linux

package robust

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// hostileCells is on how many cells TestHostileCells works at the same time.
const hostileCells = 8

// Whatever a faulty peer writes into a cell, nothing faults, and whoever has a
// context gets away.
func TestHostileCells(t *testing.T) {
	s := memtest.New(t)
	p := newParty(t, s)
	each := func(rounds int, f func(random *rand.Rand, mu *Lock, cell *format.LockCell)) {
		var wg sync.WaitGroup
		for i := range hostileCells {
			mu := p.lock(i)
			cell, _ := s.Cell(i)
			random := rand.New(rand.NewPCG(1, uint64(i)))
			wg.Go(func() {
				for range shmtest.Rounds(rounds) / hostileCells {
					f(random, mu, cell)
				}
			})
		}
		wg.Wait()
	}
	soon := func(d time.Duration) (context.Context, context.CancelFunc) {
		return context.WithTimeout(t.Context(), d)
	}
	doing := shmtest.Watchdog(t)
	doing("each cell is written before it is used")
	each(400, func(random *rand.Rand, mu *Lock, cell *format.LockCell) {
		w := random.Uint32()
		switch random.IntN(4) {
		case 0:
			w &= format.LocalWaiters | format.KernelWaiters
		case 1:
			w = w&^uint32(format.OwnerMask) | p.ID()
		}
		cell.Word.Store(w)
		cell.Probed.Store([]int64{0, math.MaxInt64, math.MinInt64, sys.Monotonic() + 1e9, -1}[random.IntN(5)])
		cell.Starve.Store(random.Uint32())
		cell.Abandoned.Store(random.Uint32())
		cell.Change.Word.Store(random.Uint32())
		doing(fmt.Sprintf("LockContext of the word %#x", w))
		ctx, cancel := soon(12 * time.Millisecond)
		defer cancel()
		if mu.LockContext(ctx) == nil || mu.TryLock() {
			mu.Unlock()
		} else {
			shmtest.Panic(mu.Unlock)
		}
	})
	for i := range hostileCells {
		cell, _ := s.Cell(i)
		cell.Word.Store(0)
	}
	doing("a peer that never rests starts")
	shmtest.Start(t, flipper, s.Path).Expect("ready")
	each(100, func(_ *rand.Rand, mu *Lock, cell *format.LockCell) {
		doing("LockContext beside a peer that never rests")
		ctx, cancel := soon(5 * time.Millisecond)
		defer cancel()
		if mu.LockContext(ctx) == nil {
			shmtest.Panic(mu.Unlock)
		}
		shmtest.Panic(func() { mu.TryLock(); mu.Abandoned() })
		doing("Await beside a peer that never rests")
		ctx, cancel = soon(5 * time.Millisecond)
		defer cancel()
		_ = mu.Await(ctx, cell.Commit.Load, func() bool { return false })
	})
}

// flipper writes everywhere in the lock cells, all the time.
var flipper = shmtest.Helper("flipper", func(args []string) error {
	s := memtest.Open(shmtest.InHelper, args[0], false)
	fmt.Println("ready")
	for {
		cell, _ := s.Cell(rand.IntN(hostileCells))
		w := rand.Uint32()
		if w&3 == 0 {
			w &= format.LocalWaiters | format.KernelWaiters
		}
		cell.Word.Store(w)
		cell.Probed.Store(rand.Int64())
		cell.Starve.Store(w)
		cell.Change.Word.Store(w)
	}
})
