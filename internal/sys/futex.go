package sys

import "sync/atomic"

// AnyBit is the set of all bits: FutexWait with it wakes for every waker, and
// FutexWake with it wakes every sleeper.
const AnyBit = ^uint32(0)

// Word is a word to sleep on, and the value it has until something happens.
type Word struct {
	Addr *atomic.Uint32
	Seen uint32
	One  bool // its sleepers are woken by FutexWake, else by FutexWakeChanged
}
