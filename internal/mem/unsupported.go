//go:build mips || mipsle || (arm && !arm.7)

package mem

// On these processors Go keeps 64-bit atomics whole by a table of locks of its
// own, which other processes do not know. A name that is not declared stops the
// build here, so that no counter loses increments there.
var _ = shared_memory_needs_64_bit_atomic_instructions__set_GOARM_to_7_or_use_another_GOARCH
