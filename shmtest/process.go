package shmtest

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/sys/child"
)

// A Proc is a process that Process has started. Its methods are for the goroutine of
// the test.
type Proc struct {
	t      testing.TB
	cmd    *exec.Cmd
	out    *output
	ended  chan struct{} // closed when the process has ended
	err    error         // of cmd.Wait; to be read when ended is closed
	killed atomic.Bool
	told   bool // the test knows how it ended
}

// Process starts a process that attaches to s and calls f, and returns when that
// process is about to call f. The process ends when f returns. The documentation of
// this package says what f may use.
//
// The process is killed if it is still there when the test ends, or when this process
// does, even if it is stopped. If f panics, calls runtime.Goexit, or ends the process with
// an exit status, the test fails, in Wait or at its end. What the process prints is logged
// there.
func Process(t testing.TB, s *shm.Segment, f func(s *shm.Segment)) *Proc {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatalf("shmtest: %v", err)
	}
	defer r.Close()
	defer w.Close()
	cmd, out := childCommand(t, s, f, plain, w)
	p := &Proc{t: t, cmd: cmd, out: out}
	outside(func() { err = p.start() })
	if err != nil {
		t.Fatalf("shmtest: %v", err)
	}
	t.Cleanup(p.end)
	runtime.KeepAlive(s)
	_ = w.Close()
	if n, _ := r.Read(make([]byte, 1)); n == 0 {
		<-p.ended
		p.told = true
		t.Fatalf("shmtest: the process ended before it called the function, with %v%v", p.err, p.out)
	}
	return p
}

// start starts the process.
func (p *Proc) start() error {
	p.ended = make(chan struct{})
	started := make(chan error)
	go func() {
		// The system kills the process when the thread ends that started it. So this
		// goroutine keeps its thread.
		runtime.LockOSThread()
		defer close(p.ended)
		child.DieWithParent(p.cmd)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
		}
	}()
	return <-started
}

// Wait waits until f has returned and the process has ended. It ends the test if f
// did not return. It returns at once after Kill. A process that is stopped does not
// end. In a bubble of testing/synctest the clock stands still meanwhile.
func (p *Proc) Wait() {
	p.t.Helper()
	<-p.ended
	p.tell(p.t.Fatalf)
}

// Kill kills the process, as kill -9 does, and returns when it has ended. It does
// nothing if the process has ended. A stopped process can be killed.
func (p *Proc) Kill() {
	p.t.Helper()
	p.kill()
	p.tell(p.t.Errorf)
}

func (p *Proc) kill() {
	select {
	case <-p.ended:
	default:
		p.killed.Store(true)
		_ = p.cmd.Process.Kill() // It may have ended meanwhile.
		<-p.ended
	}
}

// Stop stops the process, as kill -STOP or a debugger does, and returns when all of its
// threads have stopped. A stopped process keeps its locks.
func (p *Proc) Stop() {
	p.t.Helper()
	if err := child.Stop(p.cmd.Process); err != nil {
		p.t.Fatalf("shmtest: the process cannot be stopped: %v%v", err, p.out)
	}
}

// Continue lets a stopped process go on.
func (p *Proc) Continue() {
	p.t.Helper()
	if err := child.Resume(p.cmd.Process); err != nil {
		p.t.Fatalf("shmtest: the process cannot go on: %v%v", err, p.out)
	}
}

// end ends the process at the end of the test.
func (p *Proc) end() {
	p.t.Helper()
	p.kill()
	p.tell(p.t.Errorf)
}

// tell tells the test once how the process ended, if it did not end as it should.
func (p *Proc) tell(fail func(format string, args ...any)) {
	p.t.Helper()
	if p.told {
		return
	}
	p.told = true
	err := p.err
	if p.killed.Load() && child.Killed(p.cmd.ProcessState) || errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	if err != nil {
		fail("shmtest: the process ended with %v%v", err, p.out)
	} else if text := p.out.String(); text != "" {
		p.t.Logf("shmtest: the process printed:%s", text)
	}
}
