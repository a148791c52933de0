package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"example.org/shm"
)

// supervisor starts the workers, watches them, and shows the board.
type supervisor struct {
	name         string
	upTo         int64
	workers      int
	every, stale time.Duration

	program string
	seg     *shm.Segment
	board   []entry
}

// run runs the supervisor until the count is complete or a signal ends it.
func (s *supervisor) run() (err error) {
	if s.workers < 1 || s.upTo < 1 || s.every <= 0 || s.stale <= 0 {
		return fmt.Errorf("%d workers, primes up to %d, every %v, stale after %v: not all of it is above zero", s.workers, s.upTo, s.every, s.stale)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if s.program, err = os.Executable(); err != nil {
		return err
	}
	if err := s.open(); err != nil {
		return err
	}
	defer s.seg.Close()
	defer shm.Remove(s.name)

	var all sync.WaitGroup
	for i := range s.board {
		all.Go(func() { s.keep(ctx, i) })
	}
	finished := make(chan struct{})
	go func() {
		all.Wait()
		close(finished)
	}()
	for tick, over := time.Tick(s.every), false; !over; {
		select {
		case <-tick:
		case <-finished:
			over = true
		}
		if err := show(os.Stdout, s.board); err != nil {
			return err
		}
	}
	return s.result()
}

// open makes a new board, with an entry for each worker that says which numbers it has
// to test.
func (s *supervisor) open() (err error) {
	// A supervisor that was killed may have left a board. If a supervisor of this name
	// still runs, it keeps its memory, and so do its workers, which got the segment
	// from Pass and not by its name.
	if err := shm.Remove(s.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if s.seg, err = shm.Open(s.name, &shm.Options{Exclusive: true}); err != nil {
		return err
	}
	for i := range s.workers {
		from, to := s.upTo*int64(i)/int64(s.workers), s.upTo*int64(i+1)/int64(s.workers)
		e, err := attach(s.seg, i, status{From: from, Next: from, To: to, Heartbeat: time.Now().UnixNano()})
		if err != nil {
			return err
		}
		s.board = append(s.board, e)
	}
	log.Printf("the board is %s", shm.Path(s.name))
	return nil
}

// keep runs the worker of a number, and starts another whenever it ends, until its
// work is done.
func (s *supervisor) keep(ctx context.Context, number int) {
	for {
		err := s.runWorker(ctx, number)
		now := s.board[number].Status.Load()
		if ctx.Err() != nil || now.State == done {
			return
		}
		log.Printf("worker %d ended at %d %% (%v), the next one goes on", number, now.percent(), err)
		select {
		case <-time.After(50 * time.Millisecond): // a worker that cannot start must not keep a processor busy
		case <-ctx.Done():
			return
		}
	}
}

// runWorker starts a worker and returns when the worker has ended. A worker ends
// when its standard input ends. That happens when ctx is done, and also if this
// process is killed. runWorker kills a worker that has no heartbeat.
func (s *supervisor) runWorker(ctx context.Context, number int) error {
	cmd := exec.CommandContext(ctx, s.program, "-name", s.name, "-worker", strconv.Itoa(number))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Cancel = stdin.Close
	cmd.WaitDelay = s.stale // after this time the worker is killed
	s.seg.Pass(cmd)         // last, as a later change of cmd.ExtraFiles would undo it

	board := s.board[number].Status
	board.Update(func(now *status) { now.State, now.Heartbeat = starting, time.Now().UnixNano() })
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			return fmt.Errorf("process %d: %v", cmd.Process.Pid, err)
		case <-time.After(s.stale - board.Load().age()):
			if age := board.Load().age(); age >= s.stale {
				_ = cmd.Process.Kill() // fails if the worker has already ended
				return fmt.Errorf("process %d, no heartbeat for %v: %v", cmd.Process.Pid, age, <-ended)
			}
		}
	}
}

// result prints the number of primes. It returns an error if the count is not
// complete.
func (s *supervisor) result() error {
	var primes int64
	for _, e := range s.board {
		now := e.Status.Load()
		if now.State != done {
			return errors.New("told to end")
		}
		primes += now.Found
	}
	fmt.Printf("%d primes below %d\n", primes, s.upTo)
	return nil
}
