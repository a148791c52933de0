package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"example.org/shm"
)

type state int32

const (
	starting state = iota
	working
	done
)

func (s state) String() string {
	return [...]string{"starting", "working", "done"}[s]
}

// status is the state of a worker and of its work. It changes as a whole, so that
// Found is always the number of primes from From up to Next, even if the worker is
// killed.
type status struct {
	State      state
	Pid        int32
	From, Next int64
	To         int64
	Found      int64
	Heartbeat  int64 // Unix time in nanoseconds
}

func (s status) percent() int64 { return 100 * (s.Next - s.From) / max(1, s.To-s.From) }

func (s status) age() time.Duration {
	return time.Since(time.Unix(0, s.Heartbeat)).Round(time.Millisecond)
}

// entry is the part of the board that belongs to one worker.
type entry struct {
	Status  shm.Struct[status]
	Message shm.String
}

// attach finds or makes the entry of a worker. It does not use shm.Bind, as the names
// of the values have the number of the worker.
func attach(seg *shm.Segment, worker int, first status) (e entry, err error) {
	name := fmt.Sprintf("worker.%d", worker)
	if e.Status, err = shm.NewStruct(seg, name, first); err != nil {
		return e, err
	}
	e.Message, err = shm.NewString(seg, name+".message", 64)
	return e, err
}

// show writes the board. It does not wait for any worker. If a worker is stopped or
// died in the middle of a change, show writes its last complete status.
func show(w io.Writer, board []entry) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nworker\tprocess\tstate\tprogress\theartbeat\tprimes\tmessage")
	for i, e := range board {
		s := e.Status.Load()
		fmt.Fprintf(table, "%d\t%d\t%v\t%d %%\t%v ago\t%d\t%s\n", i, s.Pid, s.State, s.percent(), s.age(), s.Found, e.Message.Load())
	}
	return table.Flush()
}
