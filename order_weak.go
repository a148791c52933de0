//go:build !(amd64 || s390x)

package shm

import "sync/atomic"

// These processors may let a plain load pass the load of the commit counter
// behind it. Go's atomic loads are acquires, which nothing behind them passes,
// so a copy made of them is complete before the counter is looked at again. An
// atomic store is a release: nothing before it passes it.

const storesInOrder = false

func copyBytes(dst, src []byte) { loadWords(dst, src) }

func loadString(slot []byte) string {
	b := make([]byte, len(slot))
	loadWords(b, slot)
	return cString(b)
}

func storeRelease(p *atomic.Uint64, n uint64) { p.Store(n) }
