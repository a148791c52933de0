//go:build mips || mipsle || (arm && !arm.7)

package mem

// On these processors Go implements 64-bit atomics by a table of locks inside one
// process, so a counter would lose the increments of other processes. An undeclared
// name stops the build here.
var _ = shared_memory_needs_64_bit_atomic_instructions__set_GOARM_to_7_or_use_another_GOARCH
