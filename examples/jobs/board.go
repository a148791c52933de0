//go:build unix

package main

import (
	"context"
	"fmt"
	"io"

	"example.org/shm"
)

// A job's state. A worker that does a job holds the job's claim meanwhile; that a job is
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
	Claims  shm.Mutexes       `shm:"claims,len=64,help=who does the job of the same number"`
	Changed shm.Value[uint64] `shm:"changed,help=changes when a job is posted or done"`
}

// sleep sleeps until the board is no longer as it was when Changed had the number seen.
func (b *board) sleep(ctx context.Context, seen uint64) error {
	_, err := b.Changed.Await(ctx, func(n uint64) bool { return n != seen })
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
			switch j.State {
			case ready:
				left++
			case done:
				fmt.Fprintf(w, "%s: %s (attempts: %d)\n", cString(j.Text[:]), cString(j.Result[:]), j.Attempts)
				b.Jobs.Row(i).Store(job{})
				printed++
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
