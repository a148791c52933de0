package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"example.org/shm"
)

// jobVariable is the environment variable that makes this program a worker.
const jobVariable = "SHM_BENCH_WORKER"

// job tells a worker what to do.
type job struct {
	Way     string
	Role    role
	Actors  int           // goroutines that count
	Seats   []int         // a processor for each of them; none: any
	Client  int           // of an owner: which one
	Clients int           // the owner's
	Time    time.Duration // to count for
}

type role string

const (
	counts  role = "counts"  // increments for some time, and reports how often it could
	holds   role = "holds"   // is in the middle of an increment until it is killed
	follows role = "follows" // increments before and after that, and reports how it went
	both    role = "both"    // holds and follows, in two goroutines
	owns    role = "owns"    // increments for its clients
)

// Descriptors of a worker.
const (
	segmentFD = 3 + iota
	gateFD    // at its end when all workers are to start
	requestsFD
	repliesFD // and on
)

// Worker does the work if this process was started as a worker: then it returns
// true, and the exit status.
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

// arrive takes what the parent left in the descriptors.
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

// ready tells the parent that what follows can be counted on.
func ready() { fmt.Println(readyLine) }

func answer(v any) error { return json.NewEncoder(os.Stdout).Encode(v) }

// awaitGate sleeps until the parent starts all its workers, or is gone.
func awaitGate() error {
	_, err := io.Copy(io.Discard, os.NewFile(gateFD, "gate"))
	return err
}
