//go:build amd64 || s390x

package mem

import "sync/atomic"

// These processors keep loads in order, and stores (total store order: Intel
// SDM volume 3A section 9.2, AMD64 APM volume 2 section 7.2, z/Architecture
// Principles of Operation chapter 5), and the Go compiler keeps stores in
// program order and moves no load across an atomic operation. So a plain copy
// between two loads of the commit counter is a copy made between them, and a
// plain store of the counter is a release. That holds after a long memmove too:
// the stores of its string instructions are not reordered with other stores, and
// its non-temporal stores end with an SFENCE (runtime/memmove_amd64.s).

// StoresInOrder reports whether this processor keeps plain stores in order.
const StoresInOrder = true

// CopyBytes copies src to dst. A later atomic load cannot pass the loads of the
// copy.
//
// Preconditions: those of LoadWords.
func CopyBytes(dst, src []byte) { copy(dst, src) }

// LoadString is CString for a slot that others may write to. A later atomic load
// cannot pass its loads. The result is meaningless if somebody has written to the
// slot meanwhile.
//
// Preconditions: those of LoadWords.
func LoadString(slot []byte) string { return CString(slot) }

// StoreRelease stores n. No earlier store of this goroutine passes it.
func StoreRelease(p *atomic.Uint64, n uint64) { storePlain(p, n) }
