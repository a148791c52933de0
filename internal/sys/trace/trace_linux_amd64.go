package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a traced process may take from one store to the next. A test
// shortens it.
var patience = time.Minute

// Section starts cmd, which calls Begin and End, and calls stored after each store
// that the process makes between them to its shared mappings of file. The first call
// has what the file held at Begin, with a Store that has no Stack. A store that changes
// nothing is left out. After a store for which stored returns false the process is
// killed, with SIGKILL. At End it is killed too.
//
// Section returns when the process has ended. It sets cmd.SysProcAttr, and changes
// GODEBUG in cmd.Env. The error wraps errors.ErrUnsupported if the system does not let
// processes be traced. It is another one if the process ended by itself, or stored nothing
// for a minute.
func Section(cmd *exec.Cmd, file *os.File, stored func(Store) bool) error {
	done := make(chan error, 1)
	go func() {
		// Only the thread that started the process may trace it. It ends with this
		// goroutine.
		runtime.LockOSThread()
		done <- section(cmd, file, stored)
	}()
	return <-done
}

func section(cmd *exec.Cmd, file *os.File, stored func(Store) bool) error {
	// A group of its own: the tracer must not wait for other children of this process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// Signals that interrupt goroutines only cost stops.
	debug := "asyncpreemptoff=1"
	for _, e := range cmd.Environ() {
		if old, ok := strings.CutPrefix(e, "GODEBUG="); ok && old != "" {
			debug = old + ",asyncpreemptoff=1"
		}
	}
	cmd.Env = append(cmd.Environ(), "GODEBUG="+debug)
	if err := cmd.Start(); err != nil {
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSYS) {
			err = fmt.Errorf("%w: ptrace is refused here: %w", errors.ErrUnsupported, err)
		}
		return err
	}
	t := &tracer{pid: cmd.Process.Pid, image: image{file: file}, stored: stored, threads: map[int]*thread{}}
	t.late = time.AfterFunc(patience, t.tooLate)
	err := t.run()
	t.late.Stop()
	for !t.ended {
		_ = syscall.Kill(t.pid, syscall.SIGKILL)
		if _, _, failed := t.wait(-t.pid); failed != nil && failed != syscall.EINTR {
			break
		}
	}
	_ = cmd.Wait() // The tracer has its exit status, so this is an error. It waits for the output.
	return err
}

// tracer traces one process.
type tracer struct {
	pid    int
	image  image
	stored func(Store) bool
	late   *time.Timer // calls tooLate
	killed atomic.Bool // it did

	threads   map[int]*thread
	inside    bool      // between Begin and End
	protected []mapping // which the tracer keeps without write permission
	lifted    int       // how many threads are in system calls for which it is lifted
	call      uint64    // address of an instruction that calls the system
	moved     uint64    // how much further the child's functions are than those of this process
	status    syscall.WaitStatus
	ended     bool
}

// thread is a thread of the traced process.
type thread struct {
	inCall  bool             // between the entry and the exit of a system call
	lifts   bool             // it is one for which the protection is lifted
	again   bool             // the next entry is the same call again, now without protection
	saved   unix.PtraceRegs  // registers at the entry of that call
	pending []syscall.Signal // which arrived in the middle of something
}

// errDone is what stops the tracer when all is done.
var errDone = errors.New("done")

// tooLate is called when the process has stored nothing for a while.
func (t *tracer) tooLate() {
	t.killed.Store(true)
	_ = syscall.Kill(t.pid, syscall.SIGKILL)
}

func (t *tracer) run() error {
	// The child has stopped in exec.
	_, status, err := t.wait(t.pid)
	for err == syscall.EINTR {
		_, status, err = t.wait(t.pid)
	}
	if err != nil {
		return fmt.Errorf("wait: %w", err)
	}
	if t.ended {
		return fmt.Errorf("the process ended before the section did: %s", describe(status))
	}
	t.threads[t.pid] = &thread{}
	err = syscall.PtraceSetOptions(t.pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL)
	if err != nil {
		return fmt.Errorf("ptrace: %w", err)
	}
	if err := t.resume(t.pid, 0); err != nil {
		return err
	}
	for {
		tid, status, err := t.wait(-t.pid)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		if t.ended && t.killed.Load() {
			return fmt.Errorf("the section neither ended nor stored anything for %v", patience)
		}
		if t.ended {
			return fmt.Errorf("the process ended before the section did: %s", describe(t.status))
		}
		if !status.Stopped() {
			delete(t.threads, tid)
			continue
		}
		if t.threads[tid] == nil {
			t.threads[tid] = &thread{}
		}
		err = t.stop(tid, t.threads[tid], status)
		switch {
		case err == errDone:
			return nil
		case err == syscall.ESRCH: // The thread was killed while it was stopped.
		case err != nil:
			return err
		}
	}
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "signal: " + status.Signal().String()
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}

// wait waits for a thread of the process, or for any.
func (t *tracer) wait(id int) (tid int, status syscall.WaitStatus, err error) {
	tid, err = syscall.Wait4(id, &status, unix.WALL|unix.WNOTHREAD, nil)
	if err == nil && tid == t.pid && !status.Stopped() {
		t.ended, t.status = true, status
	}
	return tid, status, err
}

// resume lets a thread go on, with a signal or 0.
func (t *tracer) resume(tid int, signal syscall.Signal) error {
	if th := t.threads[tid]; signal == 0 && len(th.pending) > 0 {
		signal, th.pending = th.pending[0], th.pending[1:]
	}
	if t.inside {
		return syscall.PtraceSyscall(tid, int(signal))
	}
	return syscall.PtraceCont(tid, int(signal))
}

// stop handles a stop of a thread, and lets the thread go on.
func (t *tracer) stop(tid int, th *thread, status syscall.WaitStatus) error {
	signal := status.StopSignal()
	switch {
	case signal == syscall.SIGTRAP|0x80:
		return t.systemCall(tid, th)
	case signal == syscall.SIGTRAP: // of ptrace: a new thread, or exec
		signal = 0
	case signal == syscall.SIGSTOP: // new threads begin with it, and the tracer sends it
		signal = 0
	case signal == markSignal:
		var regs unix.PtraceRegs
		if err := unix.PtraceGetRegs(tid, &regs); err != nil {
			return err
		}
		if regs.R10 != magic {
			break
		}
		if regs.R8 == markEnd {
			if err := t.report(tid, &regs, false); err != nil {
				return err
			}
			return errDone
		}
		if err := t.begin(tid, &regs); err != nil {
			return err
		}
		signal = 0
	case signal == syscall.SIGSEGV && t.inside:
		handled, err := t.fault(tid, th)
		if err != nil {
			return err
		}
		if handled {
			signal = 0
		}
	}
	return t.resume(tid, signal)
}

// begin begins the section. The thread has just made the system call of Begin.
func (t *tracer) begin(tid int, regs *unix.PtraceRegs) error {
	t.call, t.moved = regs.Rip-2, regs.R9-uint64(reference())
	code := make([]byte, 2)
	if _, err := syscall.PtracePeekText(tid, uintptr(t.call), code); err != nil {
		return fmt.Errorf("ptrace: %w", err)
	}
	if code[0] != 0x0f || code[1] != 0x05 {
		return fmt.Errorf("%w: the instruction of the system call is % x", errors.ErrUnsupported, code)
	}
	t.inside = true
	if err := t.protect(tid); err != nil {
		return err
	}
	size, changes, _, err := t.image.changes()
	if err != nil {
		return err
	}
	if !t.stored(Store{Size: size, Changes: changes}) {
		return errDone
	}
	// The others have to stop once, to be traced call by call.
	for other := range t.threads {
		if other != tid {
			_ = unix.Tgkill(t.pid, other, syscall.SIGSTOP)
		}
	}
	return nil
}

// report calls stored if the file has changed, for a thread that had these registers.
// It returns errDone if stored returns false.
func (t *tracer) report(tid int, regs *unix.PtraceRegs, call bool) error {
	size, changes, changed, err := t.image.changes()
	if err != nil || !changed {
		return err
	}
	t.late.Reset(patience)
	if !t.stored(Store{size, changes, t.stack(tid, regs), call}) {
		return errDone
	}
	return nil
}

// stack returns the program counters of a thread and its callers, which it finds by
// the frame pointers that Go keeps.
func (t *tracer) stack(tid int, regs *unix.PtraceRegs) (pcs []uintptr) {
	peek := func(addr uint64) uint64 {
		var b [8]byte
		if n, err := syscall.PtracePeekData(tid, uintptr(addr), b[:]); err != nil || n != len(b) {
			return 0
		}
		return binary.LittleEndian.Uint64(b[:])
	}
	here := func(pc uint64) uintptr { return uintptr(pc - t.moved) }
	pcs = append(pcs, here(regs.Rip)+1) // CallersFrames takes it for a return address.
	if f := runtime.FuncForPC(here(regs.Rip)); f != nil && frameless(f.Name()) {
		pcs = append(pcs, here(peek(regs.Rsp)))
	}
	for frame := regs.Rbp; len(pcs) < 64; {
		pc := peek(frame + 8)
		if runtime.FuncForPC(here(pc)) == nil {
			break
		}
		pcs = append(pcs, here(pc))
		next := peek(frame)
		if next <= frame {
			break
		}
		frame = next
	}
	return pcs
}

// frameless reports whether a function of that name is one of Go's own in assembly,
// which do not keep a frame pointer.
func frameless(name string) bool {
	return strings.HasPrefix(name, "runtime.mem") || strings.HasPrefix(name, "internal/runtime/")
}
