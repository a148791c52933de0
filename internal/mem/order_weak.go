//go:build !(amd64 || s390x)

package mem

import "sync/atomic"

// These processors may perform a plain load after the load of the commit counter
// that follows it. Go's atomic loads are acquires: nothing that follows one is
// performed before it. So a copy made of them is complete before the counter is
// loaded again. An atomic store is a release: nothing before it is performed after
// it.

// StoresInOrder reports whether this processor keeps plain stores in order.
const StoresInOrder = false

// CopyBytes copies src to dst. A later atomic load cannot pass the loads of the
// copy.
//
// Preconditions: those of LoadWords.
func CopyBytes(dst, src []byte) { LoadWords(dst, src) }

// LoadString is CString for a slot that others may write to. A later atomic load
// cannot pass its loads. The result is meaningless if somebody has written to the
// slot meanwhile.
//
// Preconditions: those of LoadWords.
func LoadString(slot []byte) string {
	b := make([]byte, len(slot))
	LoadWords(b, slot)
	return CString(b)
}

// StoreRelease stores n. No earlier store of this goroutine passes it.
func StoreRelease(p *atomic.Uint64, n uint64) { p.Store(n) }
