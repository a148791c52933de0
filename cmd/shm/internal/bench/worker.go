package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"example.org/shm"
)

// jobVariable is the environment variable that makes this program a worker. It has the
// job.
const jobVariable = "SHM_BENCH_WORKER"

// job tells a worker what to do.
type job struct {
	Way     string
	Role    role
	Actors  int           // number of goroutines that count
	Seats   []int         // a processor for each of them; empty if they may use any
	Client  int           // number of this client of an owner
	Clients int           // number of the owner's clients
	Time    time.Duration // how long to count
	Files   []uintptr     // numbers of the files that the worker has inherited
}

type role string

const (
	counts  role = "counts"  // increments for some time, and reports how often
	holds   role = "holds"   // begins an increment and does not complete it, until it is killed
	follows role = "follows" // increments before and after the kill, and reports what happened
	both    role = "both"    // holds and follows in two goroutines
	owns    role = "owns"    // increments for its clients
)

// The files of a worker, as indexes of job.Files.
const (
	segmentFile = iota
	gateFile    // the pipe ends when all workers are to start
	requestsFile
	repliesFile // the first of them
)

// file returns a file that the worker has inherited.
func (j job) file(i int, name string) (*os.File, error) {
	if i >= len(j.Files) {
		return nil, fmt.Errorf("%s: %d files, which lack %s", jobVariable, len(j.Files), name)
	}
	return os.NewFile(j.Files[i], name), nil
}

// Worker does the job if this process was started as a worker. Then it returns the
// exit status and true.
func Worker() (status int, worked bool) {
	text, ok := os.LookupEnv(jobVariable)
	if !ok {
		return 0, false
	}
	endWithParent()
	if err := work(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

func work(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return fmt.Errorf("%s: %w", jobVariable, err)
	}
	w, err := wayNamed(j.Way)
	if err != nil {
		return err
	}
	at, err := arrive(w, j)
	if err != nil {
		return err
	}
	if j.Role == owns {
		ready()
		return own(at)
	}
	c, err := w.open(at)
	if err != nil {
		return err
	}
	switch j.Role {
	case counts:
		return countAll(at, c, j)
	case holds:
		return hold(at, c, ready)
	case follows:
		ready()
		return follow(at.segment, c)
	case both:
		held := make(chan struct{})
		go func() { _ = hold(at, c, func() { close(held) }) }()
		<-held
		ready()
		return follow(at.segment, c)
	}
	return fmt.Errorf("no role %q", j.Role)
}

// arrive returns what the parent has passed.
func arrive(w way, j job) (at place, err error) {
	f, err := j.file(segmentFile, "segment")
	if err != nil {
		return at, err
	}
	at.client = j.Client
	if at.segment, err = shm.OpenFile(f, nil); err != nil {
		return at, err
	}
	if at.gate, err = j.file(gateFile, "gate"); err != nil || !w.owned {
		return at, err
	}
	if at.requests, err = j.file(requestsFile, "requests"); err != nil {
		return at, err
	}
	n := 1
	if j.Role == owns {
		n = j.Clients
	}
	for i := range n {
		reply, err := j.file(repliesFile+i, "replies")
		if err != nil {
			return at, err
		}
		at.replies = append(at.replies, reply)
	}
	return at, nil
}

// ready tells the parent that this worker is ready.
func ready() { fmt.Println(readyLine) }

func answer(v any) error { return json.NewEncoder(os.Stdout).Encode(v) }

// awaitGate sleeps until the parent starts all its workers, or has ended.
func (at place) awaitGate() error {
	_, err := io.Copy(io.Discard, at.gate)
	return err
}
