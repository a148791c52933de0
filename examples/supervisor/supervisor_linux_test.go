package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.org/shm"
	"example.org/shm/examples/internal/programs"
)

var bin string // directory of the program

func TestMain(m *testing.M) { os.Exit(programs.Main(m, &bin, ".")) }

const workers = 3

const upTo = 150_000_000 // so much work that no test sees the end of it

// sieve returns the number of primes p with from <= p < to. Its method is not the
// workers', and faster.
func sieve(from, to int64) (n int64) {
	composite := make([]bool, to-from)
	for d := int64(2); d*d < to; d++ {
		for x := max(d*d, (from+d-1)/d*d); x < to; x += d {
			composite[x-from] = true
		}
	}
	for i, c := range composite {
		if !c && from+int64(i) >= 2 {
			n++
		}
	}
	return n
}

// watched is an entry of the board, with the status that the test has seen last. The
// test checks the number of primes in the entry.
type watched struct {
	entry
	seen status
}

// start starts a supervisor and attaches to its board.
func start(t *testing.T, stale string) (p *programs.Process, name string, board []*watched) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "board")
	p = programs.Start(t, filepath.Join(bin, "supervisor"), "-name", name, "-upto", fmt.Sprint(upTo), "-workers", fmt.Sprint(workers), "-every", "20ms", "-stale", stale)
	p.Line("the board is " + name)
	seg, err := shm.Open(name, &shm.Options{MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = seg.Close() })
	for i := range workers {
		e, err := attach(seg, i, status{})
		if err != nil {
			t.Fatal(err)
		}
		from := e.Status.Load().From
		board = append(board, &watched{e, status{From: from, Next: from}})
	}
	return p, name, board
}

// await waits until a worker with another pid than the last one has tested some more
// blocks, and checks that its entry is whole.
func (w *watched) await(t *testing.T) status {
	t.Helper()
	s, err := w.Status.Await(programs.Context(t), func(s status) bool {
		return s.State == working && s.Pid != w.seen.Pid && s.Next >= w.seen.Next+3*block
	})
	if err != nil {
		t.Fatal(err)
	}
	more := sieve(w.seen.Next, s.Next)
	if s.From != w.seen.From || s.Found != w.seen.Found+more {
		t.Fatalf("%+v after %+v: there are %d primes more", s, w.seen, more)
	}
	w.seen = s
	return s
}

// end ends a supervisor, checks that it has removed its board, and returns its
// output.
func end(t *testing.T, p *programs.Process, name string) string {
	t.Helper()
	p.Signal(syscall.SIGTERM)
	text := strings.Join(p.Rest(), "\n")
	if _, err := os.Stat(name); !os.IsNotExist(err) {
		t.Errorf("the board is still there: %v", err)
	}
	return text
}

func TestKilledWorkers(t *testing.T) {
	t.Parallel()
	p, name, board := start(t, "1m")
	var noticed []string
	for n := range 2 * workers {
		i := n % workers
		pid := board[i].await(t).Pid
		if err := syscall.Kill(int(pid), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		noticed = append(noticed, fmt.Sprintf(" %% (process %d: signal: killed), the next one goes on", pid))
	}
	for _, w := range board {
		w.await(t)
	}
	text := end(t, p, name)
	for _, line := range noticed {
		if !strings.Contains(text, line) {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
}

// TestStoppedWorker stops a worker, so that only the heartbeat tells the supervisor
// that it is stuck.
func TestStoppedWorker(t *testing.T) {
	t.Parallel()
	p, name, board := start(t, "1s")
	var stopped status
	programs.Eventually(t, "a worker is stopped", func() bool {
		stopped = board[0].await(t) // on a busy machine the supervisor may have killed it before
		return syscall.Kill(int(stopped.Pid), syscall.SIGSTOP) == nil
	})
	board[0].await(t)
	noticed := fmt.Sprintf(" %% (process %d, no heartbeat for ", stopped.Pid)
	if text := end(t, p, name); !strings.Contains(text, noticed) {
		t.Errorf("no %q in\n%s", noticed, text)
	}
}

// TestKilledSupervisor checks that no worker outlives a supervisor that is killed, and
// that the next supervisor starts a new count.
func TestKilledSupervisor(t *testing.T) {
	t.Parallel()
	p, name, board := start(t, "1m")
	board[0].await(t)
	p.Kill()
	p.Rest() // returns when the last worker has ended
	again := programs.Start(t, filepath.Join(bin, "supervisor"), "-name", name, "-upto", "200000", "-workers", fmt.Sprint(workers))
	again.Line("17984 primes below 200000") // the prime-counting function
	again.Wait()
}
