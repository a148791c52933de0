package bench

import (
	"fmt"
	"os"
	"slices"

	"example.org/shm"
)

// way is one of this program's ways to share a number.
type way struct {
	About
	owned bool                              // whether an owner process increments for the others
	float bool                              // whether its goroutines are not pinned; if they were, each wait would switch threads
	open  func(place) (counter, error)      // returns the counter of a worker
	read  func(*shm.Segment) (int64, error) // returns the number after the workers are done
}

// ways has all ways, in the order of the table.
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

// place has what a worker gets when it starts.
type place struct {
	segment  *shm.Segment
	gate     *os.File   // ends when all workers are to start
	requests *os.File   // of a way with an owner: this process's end of the pipe to the owner
	replies  []*os.File // of a way with an owner: the owner has one for each client, and a client has its own
	client   int        // the number of this client
}

// counter is a shared number in one process. The counter has the loop over
// increments, so that nothing comes between two increments that the way does not
// need.
type counter interface {
	add(n int) error // increments n times
}

// locker is a counter with a lock that a process can hold when it dies.
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
	nameOfNumber = "number" // the shared number
	nameOfStop   = "stop"   // 1 when the time is over
	nameOfKilled = "killed" // time of the kill, from monotonic
	nameOfReaped = "reaped" // 1 when the victim has ended
)
