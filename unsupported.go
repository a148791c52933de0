//go:build mips || mipsle || (arm && !arm.7)

package shm

// On these processors Go keeps 64-bit atomics whole by a table of locks of its
// own, which other processes know nothing of. A name that is not declared stops
// the build here, rather than a counter losing increments there.
var _ = shared_memory_needs_64_bit_atomic_instructions__set_GOARM_to_7_or_use_another_GOARCH
