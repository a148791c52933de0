package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.org/shm"
	"example.org/shm/shmtest"
)

// boardOf attaches to the board in a segment.
func boardOf(s *shm.Segment) *board {
	b := new(board)
	if err := shm.Bind(s, b); err != nil {
		panic(err)
	}
	return b
}

// ended is a context that is done: with it the verbs of a board do what they can without a wait.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// fill posts texts until the board is full.
func fill(b *board) {
	for b.put("one of many") {
	}
}

// workOnce does a job as work does.
func workOnce(b *board) {
	if b.doOne(context.Background(), 0) {
		b.Changed.Add(1)
	}
}

// Wherever a program is killed, those that wait for what it did go on. They sleep when it is
// killed, and nobody else changes the board.
func TestNobodySleepsForEver(t *testing.T) {
	for name, test := range map[string]struct {
		setup   func(*board)
		waits   func(context.Context, *board) error // in this process
		section func(*shm.Segment)                  // of the program that is killed
		rest    func(*board)                        // of another one like it
	}{
		"a worker": {
			setup:   func(b *board) { b.put("a job") },
			waits:   func(ctx context.Context, b *board) error { return b.wait(ctx, io.Discard, 1) },
			section: func(s *shm.Segment) { workOnce(boardOf(s)) },
			rest:    workOnce,
		},
		"a program that waits for results": {
			setup:   func(b *board) { b.put("a job"); workOnce(b); fill(b) },
			waits:   func(ctx context.Context, b *board) error { return b.post(ctx, []string{"another job"}) },
			section: func(s *shm.Segment) { _ = boardOf(s).wait(ended(), io.Discard, 1) },
			rest:    func(b *board) { _ = b.wait(ended(), io.Discard, 1) },
		},
		"a poster": {
			waits: func(ctx context.Context, b *board) error {
				working, stop := context.WithCancel(ctx)
				stopped := make(chan error)
				go func() { stopped <- b.work(working, 0) }()
				_, err := b.Jobs.Row(0).Await(ctx, func(j job) bool { return j.State == done })
				stop()
				return errors.Join(err, <-stopped)
			},
			section: func(s *shm.Segment) { _ = boardOf(s).post(context.Background(), []string{"a job"}) },
			rest: func(b *board) {
				if b.Jobs.Row(0).Load().State == free {
					_ = b.post(context.Background(), []string{"a job"})
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var done chan error
				setup := func(s *shm.Segment) {
					if test.setup != nil {
						test.setup(boardOf(s))
					}
					own, err := shm.OpenFile(s.File(), nil) // the last s is closed without a check
					if err != nil {
						t.Fatal(err)
					}
					ended := make(chan error, 1)
					done = ended
					go func() {
						defer own.Close()
						ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
						defer cancel()
						ended <- test.waits(ctx, boardOf(own))
					}()
					synctest.Wait()
				}
				kills := shmtest.Kill(t, setup, test.section, func(s *shm.Segment) error {
					test.rest(boardOf(s))
					return <-done
				})
				if kills < 5 {
					t.Errorf("only %d kills", kills)
				}
			})
		})
	}
}

// during is a writer that calls a function at the first Write.
type during struct {
	bytes.Buffer
	do func()
}

func (d *during) Write(b []byte) (int, error) {
	if do := d.do; do != nil {
		d.do = nil
		do()
	}
	return d.Buffer.Write(b)
}

// Two programs that wait for results print each once between them, and neither frees the
// place of a job that was posted meanwhile.
func TestTwoWaits(t *testing.T) {
	s := shmtest.Segment(t, nil)
	b := boardOf(s)
	b.put("first")
	workOnce(b)
	var second bytes.Buffer
	first := &during{do: func() {
		_ = boardOf(s).wait(ended(), &second, 0)
		if err := b.post(ended(), []string{"later"}); err != nil {
			t.Error(err)
		}
	}}
	if err := b.wait(ended(), first, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("with a job that is not done: %v", err)
	}
	workOnce(b)
	if err := b.wait(t.Context(), first, 0); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"first", "later"} {
		if n := strings.Count(first.String()+second.String(), text+": "); n != 1 {
			t.Errorf("%q is printed %d times", text, n)
		}
	}
}

// A result that cannot be written stays on the board.
func TestResultIsKept(t *testing.T) {
	b := boardOf(shmtest.Segment(t, nil))
	b.put("a job")
	workOnce(b)
	r, w := io.Pipe()
	_ = r.CloseWithError(io.ErrShortWrite)
	if err := b.wait(t.Context(), w, 1); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a writer that fails: %v", err)
	}
	var out bytes.Buffer
	if err := b.wait(t.Context(), &out, 1); err != nil || !strings.HasPrefix(out.String(), "a job: ") {
		t.Errorf("%v, and %q is printed", err, fmt.Sprint(&out))
	}
}
