package trace

import (
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls of the traced process.

// systemCall handles the entry and the exit of a system call.
func (t *tracer) systemCall(tid int, th *thread) error {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &regs); err != nil {
		return err
	}
	// A thread that was in a call when the tracer began with it stops at its exit first.
	// Before Linux 5.3 the kernel does not say which it is.
	var info struct {
		op byte
		_  [87]byte
	}
	// SAFETY: the kernel writes at most as many bytes as the struct has.
	_, _, errno := syscall.Syscall6(syscall.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		th.inCall = !th.inCall
	} else {
		th.inCall = info.op == unix.PTRACE_SYSCALL_INFO_ENTRY
	}
	if th.inCall {
		return t.entry(tid, th, regs)
	}
	return t.exit(tid, th, regs)
}

func (t *tracer) entry(tid int, th *thread, regs unix.PtraceRegs) error {
	if th.again || !t.mayStore(&regs) {
		return t.resume(tid, 0)
	}
	// The protection cannot be lifted here. The kernel leaves the call out; at its exit
	// the protection is lifted and the call begins again.
	th.saved, th.lifts = regs, true
	regs.Orig_rax = ^uint64(0)
	if err := unix.PtraceSetRegs(tid, &regs); err != nil {
		return err
	}
	return t.resume(tid, 0)
}

func (t *tracer) exit(tid int, th *thread, regs unix.PtraceRegs) error {
	switch {
	case th.lifts && !th.again:
		if t.lifted++; t.lifted == 1 {
			if err := t.setProtection(tid, syscall.PROT_READ|syscall.PROT_WRITE); err != nil {
				return err
			}
		}
		regs = th.saved
		regs.Rip, regs.Rax, regs.Orig_rax = t.call, regs.Orig_rax, ^uint64(0)
		if err := unix.PtraceSetRegs(tid, &regs); err != nil {
			return err
		}
		th.again = true
	case th.again:
		th.again, th.lifts = false, false
		// The call was made elsewhere, see above: the thread goes on where it
		// would have gone on.
		regs.Rip = th.saved.Rip
		if err := unix.PtraceSetRegs(tid, &regs); err != nil {
			return err
		}
		if t.lifted--; t.lifted == 0 {
			if err := t.setProtection(tid, syscall.PROT_READ); err != nil {
				return err
			}
		}
	case slices.Contains([]uint64{syscall.SYS_MMAP, syscall.SYS_MREMAP, syscall.SYS_MPROTECT}, regs.Orig_rax) && t.lifted == 0:
		if err := t.protect(tid); err != nil {
			return err
		}
	}
	if !th.again {
		if err := t.report(tid, &regs, true); err != nil {
			return err
		}
	}
	return t.resume(tid, 0)
}

// mayStore reports whether a system call may write to what is protected.
func (t *tracer) mayStore(regs *unix.PtraceRegs) bool {
	switch regs.Orig_rax {
	case syscall.SYS_READV, syscall.SYS_PREADV, unix.SYS_PREADV2, syscall.SYS_RECVMSG, unix.SYS_RECVMMSG, unix.SYS_PROCESS_VM_READV:
		return true // The addresses are in memory.
	case syscall.SYS_MMAP, syscall.SYS_MUNMAP, syscall.SYS_MREMAP, syscall.SYS_MPROTECT, syscall.SYS_MADVISE, syscall.SYS_MSYNC, syscall.SYS_WRITE, syscall.SYS_PWRITE64:
		return false
	case syscall.SYS_FUTEX:
		// FUTEX_WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAIT_BITSET and WAKE_BITSET, with any
		// flags, only look at the words.
		if slices.Contains([]uint64{0, 1, 3, 4, 9, 10}, regs.Rsi&0x7f) {
			return false
		}
	}
	return slices.ContainsFunc([]uint64{regs.Rdi, regs.Rsi, regs.Rdx, regs.R10, regs.R8, regs.R9}, t.protects)
}
