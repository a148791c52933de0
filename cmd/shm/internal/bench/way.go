package bench

import (
	"fmt"
	"os"
	"slices"

	"example.org/shm"
)

// way is a way of this program's to share a number.
type way struct {
	About
	owned bool                              // a process of its own increments for the others
	float bool                              // its goroutines are not pinned, which would make each wait a switch of threads
	open  func(place) (counter, error)      // in a worker
	read  func(*shm.Segment) (int64, error) // the number, when the workers are done
}

// ways is in the order of the table.
var ways = []way{
	{About: About{Way: "pointer", Label: "Go pointer", Actors: goroutines}, open: openPointer, read: readRaw},
	{About: About{Way: "rawvalue", Label: "RawValue", Actors: processes}, open: openRaw, read: readRaw},
	{About: About{Way: "atomic", Label: "Atomic", Actors: processes}, open: openAtomic, read: readAtomic},
	{About: About{Way: "value", Label: "Value", Actors: processes}, open: openValue, read: readValue},
	{About: About{Way: "syncmutex", Label: "sync.Mutex", Actors: goroutines}, float: true, open: openMutex, read: readRaw},
	{About: About{Way: "flock", Label: "flock(2)", Actors: processes, optional: true}, open: openFlock, read: readRaw},
	{About: About{Way: "pipe", Label: "pipe to owner", Actors: processes}, owned: true, open: openPipe, read: readRaw},
}

func wayNamed(name string) (way, error) {
	i := slices.IndexFunc(ways, func(w way) bool { return w.Way == name })
	if i < 0 {
		return way{}, fmt.Errorf("no way %q", name)
	}
	return ways[i], nil
}

func (w way) about() About { return w.About }

// local reports whether the actors are goroutines of one process.
func (w way) local() bool { return w.Actors == goroutines }

// place is what a worker finds when it starts.
type place struct {
	segment  *shm.Segment
	requests *os.File   // of a way with an owner: its end of the pipe to it
	replies  []*os.File // likewise: the owner has one for each client, a client its own
	client   int        // which of them this process is
}

// counter is a shared number as one process sees it. The loop over increments
// is the counter's own, so that nothing stands between two that the way itself
// does not need.
type counter interface {
	add(n int) error // n increments, one after the other
}

// locker is a counter with a lock that one can die with.
type locker interface {
	counter
	lock() error
}

// private is a counter whose number is not in the segment.
type private interface {
	counter
	number() int64
}

// Names in the segment.
const (
	nameOfNumber = "number" // what is incremented
	nameOfStop   = "stop"   // 1 when the time is over
	nameOfKilled = "killed" // when the victim was killed, by monotonic
	nameOfReaped = "reaped" // 1 when the system says that it is gone
)
