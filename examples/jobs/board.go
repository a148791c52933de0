//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"example.org/shm"
)

// A job's state. Who does a job, or prints it, holds the job's claim meanwhile; that a job is
// under way is not a state of its own, so there is none to put back when a worker dies.
const (
	free int32 = iota
	ready
	done
)

// job is a place on the board.
type job struct {
	State    int32
	Attempts int32     // by workers, one of which may have done it
	Worker   int32     // process that made the last attempt
	Text     [100]byte `shm:",char"`
	Result   [64]byte  `shm:",char"`
}

// board has the values that the programs share.
type board struct {
	Jobs    shm.Table[job]    `shm:"jobs,len=64"`
	Claims  shm.Mutexes       `shm:"claims,len=64,help=who does or prints the job of the same number"`
	Changed shm.Value[uint64] `shm:"changed,help=changes when a job is posted or done"`
}

// askAgain is how long a program sleeps, unless the board changes, before it looks again: a
// program that was killed behind a change of the board has told nobody.
const askAgain = 100 * time.Millisecond

// sleep sleeps until the board is no longer as it was when Changed had the number seen, but
// no longer than askAgain. The error is that of ctx.
func (b *board) sleep(ctx context.Context, seen uint64) error {
	soon, cancel := context.WithTimeout(ctx, askAgain)
	defer cancel()
	_, err := b.Changed.Await(soon, func(n uint64) bool { return n != seen })
	if ctx.Err() != nil {
		return ctx.Err() // err may be that of soon
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// post puts jobs into free places, and waits for places.
func (b *board) post(ctx context.Context, texts []string) error {
	for _, text := range texts {
		if n := len(job{}.Text); len(text) > n {
			return fmt.Errorf("%q has %d bytes, a job has room for %d", text, len(text), n)
		}
		for seen := b.Changed.Load(); !b.put(text); seen = b.Changed.Load() {
			if err := b.sleep(ctx, seen); err != nil {
				return fmt.Errorf("the board is full: %w", err)
			}
		}
		b.Changed.Add(1)
	}
	return nil
}

// put puts a job into the first free place, and reports whether there is one.
func (b *board) put(text string) (ok bool) {
	for i := 0; i < b.Jobs.Len() && !ok; i++ {
		b.Jobs.Row(i).Update(func(j *job) {
			if j.State == free {
				*j = job{State: ready}
				copy(j.Text[:], text)
				ok = true
			}
		})
	}
	return ok
}

// wait prints each job that is done, and frees its place. It ends when it has printed at
// least n jobs, and none is left.
func (b *board) wait(ctx context.Context, w io.Writer, n int) error {
	for printed := 0; ; {
		seen, before, left := b.Changed.Load(), printed, 0
		for i, j := range b.Jobs.All() {
			if j.State == free {
				continue
			}
			took, err := b.take(i, w)
			if err != nil {
				return err
			}
			if took {
				printed++
			} else {
				left++
			}
		}
		if printed > before {
			b.Changed.Add(1) // there are free places
		} else if left == 0 && printed >= n {
			return nil
		} else if err := b.sleep(ctx, seen); err != nil {
			return err
		}
	}
}

// take prints job i and frees its place, if the job is done and nobody else has its claim.
// While it has the claim itself, the place remains as it is. A program that is killed
// behind the print leaves the job to the next, which prints it again.
func (b *board) take(i int, w io.Writer) (took bool, err error) {
	row, claim := b.Jobs.Row(i), b.Claims.At(i)
	if row.Load().State != done || !claim.TryLock() {
		return false, nil
	}
	defer claim.Unlock()
	claim.Abandoned() // the row was changed as a whole, so there is nothing to repair
	j := row.Load()
	if j.State != done { // another program took it just now
		return false, nil
	}
	if _, err := fmt.Fprintf(w, "%s: %s (attempts: %d)\n", cString(j.Text[:]), cString(j.Result[:]), j.Attempts); err != nil {
		return false, err
	}
	row.Store(job{})
	return true, nil
}
