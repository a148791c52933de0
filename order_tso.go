//go:build amd64 || s390x

package shm

import "sync/atomic"

// These processors keep loads in order, and stores (total store order: Intel
// SDM volume 3A section 9.2, AMD64 APM volume 2 section 7.2, z/Architecture
// Principles of Operation chapter 5), and the Go compiler keeps stores in
// program order and moves no load across an atomic operation. So a plain copy
// between two loads of the commit counter is a copy made between them, and a
// plain store of the counter is a release: also behind a long memmove, whose
// string instructions are not reordered with other stores, and whose
// non-temporal stores end with an SFENCE (runtime/memmove_amd64.s).

const storesInOrder = true

func copyBytes(dst, src []byte) { copy(dst, src) }

func loadString(slot []byte) string { return cString(slot) }

func storeRelease(p *atomic.Uint64, n uint64) { storePlain(p, n) }
