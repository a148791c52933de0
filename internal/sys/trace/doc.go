// Package trace runs a part of a program, its section, and stops it after each
// store that it makes to a file that it maps. It is for package shmtest.
//
// The section runs in a child process, which is the same program again and is traced
// by ptrace(2). The child calls [Begin], runs the section, and calls [End]; the tracer
// is [Section]. Begin and End send a signal to the child's own thread, which the
// tracer takes away. From Begin on the tracer keeps the child's mappings of the file
// write-protected: it lets the child call mprotect where the child's own system call
// is. So each store is a fault, of which the tracer learns before the child does. It
// lifts the protection, lets the thread execute the one instruction, looks at what has
// changed in the file, and protects the memory again. This takes a thousandth of the
// stops that single steps through the whole section would take.
//
// A system call that may write to the mapping runs without the protection. What a
// system call has changed, be it in the mapping or in the file, is reported as one store.
//
// What one instruction stores is one store, and so is one iteration of an
// instruction with a REP prefix: a process can be killed between two of them. While
// the protection is lifted for one thread, other threads of the child can store too.
// Their stores are then reported with that thread's.
//
// Tracing works on Linux and amd64 processors.
//
// The package imports nothing of this module.
package trace

// A Store is what one store has changed.
type Store struct {
	Size    int64     // of the file now
	Changes []Change  // in ascending order
	Stack   []uintptr // program counters, as of this process: the store, and its callers; for runtime.CallersFrames
	Call    bool      // a system call has stored
}

// A Change is a part of a file that is other than before, from the first byte to the
// last that differs. It does not cross a multiple of ChangeSize.
type Change struct {
	Off  int64
	Data []byte
}

// ChangeSize is how a file is divided.
const ChangeSize = 4096
