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
}

type role string

const (
	counts  role = "counts"  // increments for some time, and reports how often
	holds   role = "holds"   // begins an increment and does not complete it, until it is killed
	follows role = "follows" // increments before and after the kill, and reports what happened
	both    role = "both"    // holds and follows in two goroutines
	owns    role = "owns"    // increments for its clients
)

// The descriptors of a worker.
const (
	segmentFD = 3 + iota
	gateFD    // the pipe ends when all workers are to start
	requestsFD
	repliesFD // the first of them
)

// Worker does the job if this process was started as a worker. Then it returns the
// exit status and true.
func Worker() (status int, worked bool) {
	text, ok := os.LookupEnv(jobVariable)
	if !ok {
		return 0, false
	}
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
		return countAll(at.segment, c, j)
	case holds:
		return hold(c, ready)
	case follows:
		ready()
		return follow(at.segment, c)
	case both:
		held := make(chan struct{})
		go func() { _ = hold(c, func() { close(held) }) }()
		<-held
		ready()
		return follow(at.segment, c)
	}
	return fmt.Errorf("no role %q", j.Role)
}

// arrive returns what the parent has passed in the descriptors.
func arrive(w way, j job) (place, error) {
	s, err := shm.OpenFile(os.NewFile(segmentFD, "segment"), nil)
	if err != nil {
		return place{}, err
	}
	at := place{segment: s, client: j.Client}
	if !w.owned {
		return at, nil
	}
	at.requests = os.NewFile(requestsFD, "requests")
	n := 1
	if j.Role == owns {
		n = j.Clients
	}
	for i := range n {
		at.replies = append(at.replies, os.NewFile(uintptr(repliesFD+i), "replies"))
	}
	return at, nil
}

// ready tells the parent that this worker is ready.
func ready() { fmt.Println(readyLine) }

func answer(v any) error { return json.NewEncoder(os.Stdout).Encode(v) }

// awaitGate sleeps until the parent starts all its workers, or has ended.
func awaitGate() error {
	_, err := io.Copy(io.Discard, os.NewFile(gateFD, "gate"))
	return err
}
