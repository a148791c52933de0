package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"example.org/shm"
	"example.org/shm/examples/internal/programs"
)

var bin string // where the program is

func TestMain(m *testing.M) { os.Exit(programs.Main(m, &bin, ".")) }

const (
	upTo    = 2_000_000
	workers = 3
	result  = "148933 primes below 2000000" // the prime-counting function of two million
)

// start starts a supervisor, and attaches to its board.
func start(t *testing.T, stale string) (*programs.Process, string, []entry) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "board")
	p := programs.Start(t, filepath.Join(bin, "supervisor"), "-name", name, "-upto", fmt.Sprint(upTo), "-workers", fmt.Sprint(workers),
		"-every", "20ms", "-stale", stale)
	p.Line("the board is " + name)
	seg, err := shm.Open(name, &shm.Options{MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = seg.Close() })
	board := make([]entry, workers)
	for i := range board {
		if board[i], err = attach(seg, i, status{}); err != nil {
			t.Fatal(err)
		}
	}
	return p, name, board
}

// await waits for an entry to become what is wanted, and checks that it is whole.
func await(t *testing.T, e entry, ok func(status) bool) status {
	t.Helper()
	s, err := e.Status.Await(t.Context(), ok)
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := primes(s.From, s.Next); s.Found != want {
		t.Fatalf("from %d to %d there are %d primes, the board says %d", s.From, s.Next, want, s.Found)
	}
	return s
}

func TestKilledWorkers(t *testing.T) {
	t.Parallel()
	p, name, board := start(t, "1m")
	const kills = 6
	killed := make([]int32, workers) // the last of each
	for n := range kills {
		i := n % workers
		s := await(t, board[i], func(s status) bool {
			return s.State == done || s.State == working && s.Pid != killed[i] && s.Next-s.From >= int64(n/workers+1)*5*block
		})
		if s.State == done {
			continue // this test was too slow for it
		}
		killed[i] = s.Pid
		if err := syscall.Kill(int(s.Pid), syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			t.Fatal(err)
		}
		await(t, board[i], func(s status) bool { return s.State == done || s.Pid != killed[i] })
	}
	lines := p.Rest()
	p.Wait()
	text := strings.Join(lines, "\n")
	if !slices.Contains(lines, result) || !strings.Contains(text, "signal: killed") {
		t.Errorf("no %q or no kill in\n%s", result, text)
	}
	if _, err := os.Stat(name); !os.IsNotExist(err) {
		t.Errorf("the board is still there: %v", err)
	}
}

// TestStoppedWorker has the supervisor find out by the heartbeat alone.
func TestStoppedWorker(t *testing.T) {
	t.Parallel()
	p, _, board := start(t, "1s")
	s := await(t, board[0], func(s status) bool { return s.State != starting })
	if err := syscall.Kill(int(s.Pid), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	lines := p.Rest()
	p.Wait()
	text := strings.Join(lines, "\n")
	if noticed := fmt.Sprintf("(process %d, no heartbeat for ", s.Pid); !strings.Contains(text, noticed) || !slices.Contains(lines, result) {
		t.Errorf("no %q or no %q in\n%s", noticed, result, text)
	}
}

// TestKilledSupervisor wants no worker to outlive it, and the next supervisor to
// begin anew.
func TestKilledSupervisor(t *testing.T) {
	t.Parallel()
	p, name, board := start(t, "1m")
	await(t, board[0], func(s status) bool { return s.State == working })
	p.Kill()
	p.Rest() // up to the end of the last worker
	again := programs.Start(t, filepath.Join(bin, "supervisor"), "-name", name, "-upto", "100", "-workers", "1")
	again.Line("25 primes below 100")
	again.Wait()
}
