//go:build linux

package agent

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"example.org/shm"
)

// Fickle takes the lock of v in several goroutines again and again, for a time d,
// and adds 1 to v each time that it gets the lock. It waits for a random time
// only: some of the goroutines give up at each point of a wait. It returns how
// often it has added.
func Fickle(v shm.Value[int64], goroutines int, d time.Duration) int64 {
	var added atomic.Int64
	end := time.Now().Add(d)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			random := uint64(g)*0x9E3779B97F4A7C15 + uint64(os.Getpid())
			for time.Now().Before(end) {
				random = random*6364136223846793005 + 1442695040888963407
				wait := time.Duration(random >> 32 % 300_000)
				if random>>60 == 0 {
					wait *= 40 // long enough for a watch
				}
				ctx, cancel := context.WithTimeout(context.Background(), wait)
				if random>>59&1 == 0 {
					time.AfterFunc(wait/2, cancel)
				}
				if v.Mutex().LockContext(ctx) == nil {
					v.Raw().Set(v.Raw().Get() + 1)
					added.Add(1)
					if random>>56&7 == 0 {
						spin(50 * time.Microsecond)
					}
					v.Mutex().Unlock()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	return added.Load()
}
