//go:build linux && !shmportable

package sys

// Operations of futex(2). They never have the private flag: other processes map
// the words too.
const (
	futexWaitBitset = 9
	futexWakeBitset = 10
)
