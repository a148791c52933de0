package trace

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The write protection of the mappings, and the faults that come of it.

// protect takes the write permission from all mappings of the file that have it.
func (t *tracer) protect(tid int) error {
	found, err := writableMappings(t.pid, t.image.file)
	if err != nil {
		return err
	}
	for _, m := range found {
		if err := t.mprotect(tid, m, syscall.PROT_READ); err != nil {
			return err
		}
		if !slices.Contains(t.protected, m) {
			t.protected = append(t.protected, m)
		}
	}
	return nil
}

// setProtection gives or takes the write permission of what is protected.
func (t *tracer) setProtection(tid, prot int) error {
	for _, m := range t.protected {
		if err := t.mprotect(tid, m, prot); err != nil {
			return err
		}
	}
	return nil
}

// mprotect makes a stopped thread call mprotect. The thread is not at the entry of a
// system call.
func (t *tracer) mprotect(tid int, m mapping, prot int) error {
	var old unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &old); err != nil {
		return err
	}
	regs := old
	regs.Rip, regs.Rax, regs.Orig_rax = t.call, syscall.SYS_MPROTECT, ^uint64(0)
	regs.Rdi, regs.Rsi, regs.Rdx = m.start, m.end-m.start, uint64(prot)
	if err := unix.PtraceSetRegs(tid, &regs); err != nil {
		return err
	}
	if err := t.step(tid); err != nil {
		return err
	}
	if err := unix.PtraceGetRegs(tid, &regs); err != nil {
		return err
	}
	if errno := -int64(regs.Rax); errno != 0 && syscall.Errno(errno) != syscall.ENOMEM { // unmapped meanwhile
		return fmt.Errorf("mprotect in the traced process: %w", syscall.Errno(errno))
	}
	return unix.PtraceSetRegs(tid, &old)
}

// errFault is the error of step if the instruction cannot be executed.
var errFault = errors.New("fault")

// step lets a thread execute one instruction.
func (t *tracer) step(tid int) error {
	th := t.threads[tid]
	for {
		if err := syscall.PtraceSingleStep(tid); err != nil {
			return err
		}
		var status syscall.WaitStatus
		for {
			var err error
			if _, status, err = t.wait(tid); err == nil {
				break
			} else if err != syscall.EINTR {
				return err
			}
		}
		switch {
		case !status.Stopped():
			return syscall.ESRCH
		case status.StopSignal() == syscall.SIGTRAP:
			return nil
		case slices.Contains([]syscall.Signal{syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL}, status.StopSignal()):
			th.pending = append(th.pending, status.StopSignal())
			return errFault
		case status.StopSignal() != syscall.SIGSTOP:
			th.pending = append(th.pending, status.StopSignal())
		}
	}
}

// fault handles a fault of a thread. It reports whether the protection was the reason.
func (t *tracer) fault(tid int, th *thread) (handled bool, err error) {
	var info struct {
		signo, errno, code, _ int32
		addr                  uint64
		_                     [104]byte
	}
	// SAFETY: the kernel writes a siginfo_t, whose size the struct has.
	if _, _, errno := syscall.Syscall6(syscall.SYS_PTRACE, unix.PTRACE_GETSIGINFO, uintptr(tid), 0, uintptr(unsafe.Pointer(&info)), 0, 0); errno != 0 {
		return false, errno
	}
	const noAccess = 2 // SEGV_ACCERR
	if info.code != noAccess || !t.protects(info.addr) {
		return false, nil
	}
	if t.lifted > 0 { // It was protected a moment ago, and is not now.
		return true, nil
	}
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &regs); err != nil {
		return false, err
	}
	if err := t.setProtection(tid, syscall.PROT_READ|syscall.PROT_WRITE); err != nil {
		return false, err
	}
	for instruction := regs.Rip; ; {
		err := t.step(tid)
		if err != nil && err != errFault {
			return false, err
		}
		if err := t.report(tid, &regs, false); err != nil {
			return false, err
		}
		if err == errFault {
			break
		}
		// An instruction with a REP prefix is not over: its next iteration stores too.
		if err := unix.PtraceGetRegs(tid, &regs); err != nil {
			return false, err
		}
		if regs.Rip != instruction {
			break
		}
	}
	return true, t.setProtection(tid, syscall.PROT_READ)
}

func (t *tracer) protects(addr uint64) bool {
	return slices.ContainsFunc(t.protected, func(m mapping) bool { return m.start <= addr && addr < m.end })
}
