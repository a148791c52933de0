//go:build linux

package main

import (
	"fmt"
	"slices"

	"example.org/shm"
)

// A comparison is one operation of package shm beside its rival. Exactly one of
// loops, sides and both is set.
type comparison struct {
	name   string  // stable: -run matches it, and files of results are joined by it
	ours   string  // what ours is; empty if the name says it
	rival  string  // what it is compared with
	unit   string  // of both sides; ns for one operation if empty
	target float64 // the largest ratio of ours to the rival's that is wanted, or the smallest if more is set; 0 if there is none
	more   bool    // more is better
	note   string  // what a reader must know, or why the target is missed
	long   bool    // only with -long: it starts processes, or takes seconds
	pairs  int     // how many pairs, if not as many as -pairs says

	// loops prepares two loops, of which n iterations are n operations.
	loops func(b *bed) (ours, rival loop)
	// sides prepares two functions, each of which measures once.
	sides func(b *bed) (ours, rival side)
	// both prepares a function that measures both.
	both func(b *bed) round
}

// A loop does an operation n times. Both sides of a comparison have their own
// closure with its own for statement, so that the compiler inlines what a
// user's loop inlines.
type loop func(n int)

// A side measures one side once.
type side func() (float64, error)

// A round measures both sides once.
type round func() (ours, rival float64, err error)

// comparisons returns all of them, in the order of the table.
func comparisons() []comparison {
	return slices.Concat(numbers, counters, arrays, locks, structs, streams, texts, segments, names, processes, takeovers, languages)
}

// A bed is what one comparison is measured on.
type bed struct {
	segment *shm.Segment // anonymous
	batch   int          // iterations of a loop, if they are not to be calibrated
	between func()       // called before each loop, outside of the measured time
	closers []func()
}

func newBed() (*bed, error) {
	s, err := shm.Anonymous(nil)
	if err != nil {
		return nil, err
	}
	b := &bed{segment: s}
	b.onClose(func() { _ = s.Close() }) // nothing in it is wanted any more
	return b, nil
}

// onClose calls f when the comparison is done.
func (b *bed) onClose(f func()) { b.closers = append(b.closers, f) }

func (b *bed) close() {
	for _, f := range slices.Backward(b.closers) {
		f()
	}
}

// failure carries an error out of a comparison's preparation or loop, which have
// no other way to return it.
type failure struct{ err error }

// must returns x, or ends the comparison with the error.
func must[T any](x T, err error) T {
	check(err)
	return x
}

// check ends the comparison if err is not nil.
func check(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// catch calls f and returns the error that must or check ended it with.
func catch(f func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			err = r.err
		default:
			panic(r)
		}
	}()
	f()
	return nil
}

func (c *comparison) what() string {
	if c.ours != "" {
		return c.ours
	}
	return c.name
}

func (c *comparison) String() string { return fmt.Sprintf("%s against %s", c.what(), c.rival) }
