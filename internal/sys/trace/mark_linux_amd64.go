package trace

import (
	"reflect"
	"runtime"
	"syscall"
)

// What the child tells the tracer: arguments of its system call that the kernel does
// not look at.
const (
	magic     = 0x53686d5472616365 // in register R10
	markBegin = 1                  // in register R8
	markEnd   = 2
)

// markSignal is the signal that a mark sends. Go programs get it for no reason at
// times, and ignore it then.
const markSignal = syscall.SIGURG

// Begin marks the begin of the section. The goroutine keeps its thread until End.
func Begin() {
	runtime.LockOSThread()
	mark(markBegin)
}

// End marks the end of the section. It does not return in a process that Section
// traces.
func End() {
	mark(markEnd)
	runtime.UnlockOSThread()
}

func mark(kind uintptr) {
	pid, _, _ := syscall.RawSyscall(syscall.SYS_GETPID, 0, 0, 0)
	tid, _, _ := syscall.RawSyscall(syscall.SYS_GETTID, 0, 0, 0)
	_, _, _ = syscall.RawSyscall6(syscall.SYS_TGKILL, pid, tid, uintptr(markSignal), magic, kind, reference())
}

// reference returns the address of a function, which differs between two processes of
// one program by as much as all addresses of functions do.
func reference() uintptr { return reflect.ValueOf(Section).Pointer() }
