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

// status is what is known of a worker and its work. It changes as a whole, so
// that Found is of the numbers from From up to Next, whoever is killed.
type status struct {
	State      state
	Pid        int32
	From, Next int64
	To         int64
	Found      int64
	Heartbeat  int64 // Unix time, ns
}

func (s status) percent() int64 { return 100 * (s.Next - s.From) / max(1, s.To-s.From) }

func (s status) age() time.Duration {
	return time.Since(time.Unix(0, s.Heartbeat)).Round(time.Millisecond)
}

// entry is a worker's part of the board.
type entry struct {
	Status  shm.Struct[status]
	Message shm.String
}

// attach finds or makes the entry of a worker. Bind would do for names that do
// not have a number.
func attach(seg *shm.Segment, worker int, first status) (e entry, err error) {
	name := fmt.Sprintf("worker.%d", worker)
	if e.Status, err = shm.NewStruct(seg, name, first); err != nil {
		return e, err
	}
	e.Message, err = shm.NewString(seg, name+".message", 64)
	return e, err
}

// show writes the board. It waits for nobody: a worker that is stopped, or dead,
// in the middle of a change is shown as of its last one.
func show(w io.Writer, board []entry) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nworker\tprocess\tstate\tprogress\theartbeat\tprimes\tmessage")
	for i, e := range board {
		s := e.Status.Load()
		fmt.Fprintf(table, "%d\t%d\t%v\t%d %%\t%v ago\t%d\t%s\n", i, s.Pid, s.State, s.percent(), s.age(), s.Found, e.Message.Load())
	}
	return table.Flush()
}
