package robust

import (
	"context"
	"os"
	"sync/atomic"
	"time"

	"example.org/shm/internal/sys"
	"example.org/shm/internal/wait"
)

// departEvery is the time between probes beside a hint: a process that lives may have left the
// segment.
const departEvery = 250 * time.Millisecond

// AwaitExit sleeps until the process with an id is dead, as far as its lease tells, or
// has left the segment. It returns the context's error when ctx is done, and the error
// that over returns. f is the segment's file. wake is made by the caller's goroutine; a
// token makes AwaitExit call over.
func (p *Party) AwaitExit(ctx context.Context, f *os.File, id uint32, wake chan struct{}, over func() error) error {
	look := func() (done bool, err error) {
		if err = over(); err != nil {
			return true, err
		}
		if !p.Lives(f, id) {
			return true, over() // a file that was closed meanwhile tells nothing
		}
		return false, ctx.Err()
	}
	if b := wait.InBubble(); b != nil {
		var nothing atomic.Uint32
		for {
			if done, err := look(); done || err != nil {
				return err
			}
			b.SleepRemote(ctx, &nothing, 0, p.WakeBit(), wait.Short)
		}
	}
	// The pid may belong to another process by now. But if the lease is held after this,
	// the process lived when its pid was looked up, and so the pid was its own.
	exited := make(chan struct{})
	hint := p.WatchDeath(id)
	if hint != nil {
		defer hint.Close()
		go func() {
			if hint.Exited() {
				close(exited)
			}
		}()
	}
	began := sys.Monotonic()
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for {
		if done, err := look(); done || err != nil {
			return err
		}
		pause := probeEvery
		switch {
		case hint != nil:
			pause = departEvery
		case sys.Monotonic()-began > int64(patientAfter):
			pause = hintedTick
		}
		timer.Reset(pause)
		select {
		case <-exited:
			// If the lease is held still, a child of the process has it until it has
			// called exec, or the table was wrong.
			hint.Close()
			hint, exited, began = nil, nil, sys.Monotonic()
		case <-wake:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
}
