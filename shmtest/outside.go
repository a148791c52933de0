package shmtest

import "example.org/shm/internal/sys"

// A goroutine that waits for a process would stop the clock of a bubble of
// testing/synctest. A goroutine that starts in a bubble belongs to it, so those of this
// package start from one that Main has started.

// errand is something to do outside of all bubbles. Its channels are made there too.
type errand struct {
	what chan func()
	done chan struct{}
}

var errands = make(chan errand)

// serve does errands, each in a goroutine of its own.
func serve() {
	for {
		e := errand{make(chan func()), make(chan struct{})}
		errands <- e
		go func() {
			defer close(e.done)
			(<-e.what)()
		}()
	}
}

// outside calls f outside of all bubbles, and returns when f does.
func outside(f func()) {
	if sys.Bubble() == 0 {
		f()
		return
	}
	e := <-errands
	e.what <- f
	<-e.done
}
