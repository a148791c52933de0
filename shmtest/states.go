package shmtest

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/sys/trace"
)

// States finds every state that a crash of section can leave, and checks each. It
// calls setup, which may be nil, with a new segment. Then it runs section in a child
// process, once, and copies the segment after each store that section makes to it. It
// calls check with each different copy, the one before the first store included, and
// returns how many there are. An error of check fails the test, and the report names
// the store.
//
// A copy is a segment of its own to which no process but this one is attached. So every
// owner of a lock is dead in it, as section would be after a crash, and check may lock
// and change what it likes. What setup left locked is locked by a dead owner too. If
// check shall see other processes that live, call [Kill].
//
// setup and check run in the test's goroutine. section runs in another process: the
// documentation of this package says what it may use. It attaches to its values, which
// is a part of what is checked, and may start goroutines.
//
// A store is what one instruction writes, if that changes anything: a word, or up to 64
// bytes of a larger value that is copied. A copy by an instruction with a REP prefix can be cut after each of
// its iterations, and is. What a system call does, such as a read into the segment or
// the reservation of more memory, is one store. If two goroutines store at the same
// time, their stores may be seen together. States shows what a killed process leaves to
// other processes. What a power failure leaves on a disk is something else.
//
// The test is skipped where processes cannot be traced: on other systems than Linux, on
// other processors than amd64, and where ptrace(2) is refused, as in some containers.
func States(t testing.TB, setup, section func(*shm.Segment), check func(*shm.Segment) error) (states int) {
	t.Helper()
	s := Segment(t, nil)
	defer s.Close()
	if setup != nil {
		setup(s)
	}
	var stores []trace.Store
	run(t, s, section, func(store trace.Store) bool {
		stores = append(stores, store)
		return true
	})
	seen := map[[sha256.Size]byte]bool{}
	pages := map[int64][]byte{} // what the copy has, by offset
	failed := 0
	for i, store := range stores {
		for _, c := range store.Changes {
			at := c.Off % trace.ChangeSize
			if pages[c.Off-at] == nil {
				pages[c.Off-at] = make([]byte, trace.ChangeSize)
			}
			copy(pages[c.Off-at][at:], c.Data)
		}
		if state := sum(store.Size, pages); seen[state] {
			continue
		} else {
			seen[state] = true
		}
		states++
		if err := checkCopy(t, store.Size, pages, check, func() string { return where(i, len(stores)-1, store) }); err != nil {
			if failed++; failed <= reported {
				t.Errorf("shmtest: a crash leaves a wrong state: %v\n%s", err, where(i, len(stores)-1, store))
			}
		}
	}
	if failed > reported {
		t.Errorf("shmtest: %d more states are wrong", failed-reported)
	}
	return states
}

// Kill is States with real deaths: for each store that section makes it makes a new
// segment, calls setup, runs section in a child process, kills it after that store with
// SIGKILL, and calls check with the segment itself. It returns how often it has killed.
//
// Kill takes much longer than States, since it starts a process for each store. Use it if the check shall see processes that live
// beside the one that dies: this one, which is attached to the segment, and those that
// setup has started with [Process]. Locks that setup has taken are held by an owner who
// lives. The order of stores must not depend on chance, or some may be left out.
func Kill(t testing.TB, setup, section func(*shm.Segment), check func(*shm.Segment) error) (kills int) {
	t.Helper()
	failed := 0
	for {
		died, err := killBehind(t, kills+1, setup, section, check)
		if !died {
			break
		}
		kills++
		if err != nil {
			if failed++; failed <= reported {
				t.Errorf("shmtest: %v", err)
			}
		}
	}
	if failed > reported {
		t.Errorf("shmtest: %d more deaths leave a wrong state", failed-reported)
	}
	return kills
}

// reported is how many wrong states a test reports.
const reported = 5

// killBehind is Kill for the store of that number. It reports whether there was one.
func killBehind(t testing.TB, number int, setup, section func(*shm.Segment), check func(*shm.Segment) error) (died bool, err error) {
	t.Helper()
	s := Segment(t, nil)
	defer s.Close()
	if setup != nil {
		setup(s)
	}
	var last trace.Store
	stores := -1 // The first report is the state before.
	run(t, s, section, func(store trace.Store) bool {
		stores++
		last = store
		return stores < number
	})
	if stores < number {
		return false, nil
	}
	if err := watched(t, s, check, func() string { return where(number, 0, last) }); err != nil {
		return true, fmt.Errorf("a kill leaves a wrong state: %w\n%s", err, where(number, 0, last))
	}
	return true, nil
}

// most is how many stores a section may make. One that makes more does not end, or takes
// minutes to check.
const most = 100_000

// run runs section in a traced child.
func run(t testing.TB, s *shm.Segment, section func(*shm.Segment), stored func(trace.Store) bool) {
	t.Helper()
	cmd, out := childCommand(t, s, section, traced)
	stores := 0
	var err error
	outside(func() {
		err = trace.Section(cmd, s.File(), func(store trace.Store) bool {
			stores++
			return stores <= most && stored(store)
		})
	})
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("shmtest: %v", err)
	}
	if err != nil {
		t.Fatalf("shmtest: the section cannot be followed: %v%v", err, out)
	}
	if stores > most {
		t.Fatalf("shmtest: the section makes more than %d stores; it has to end%v", most, out)
	}
	if text := out.String(); text != "" {
		t.Logf("shmtest: the section printed:%s", text)
	}
	runtime.KeepAlive(s)
}

// sum returns a hash of a state.
func sum(size int64, pages map[int64][]byte) (h [sha256.Size]byte) {
	hash := sha256.New()
	number := func(n int64) { _, _ = hash.Write(binary.LittleEndian.AppendUint64(nil, uint64(n))) }
	number(size)
	for _, off := range slices.Sorted(maps.Keys(pages)) {
		number(off)
		_, _ = hash.Write(pages[off])
	}
	hash.Sum(h[:0])
	return h
}

// checkCopy calls check with a copy of a state.
func checkCopy(t testing.TB, size int64, pages map[int64][]byte, check func(*shm.Segment) error, where func() string) error {
	t.Helper()
	f, err := copyOf(t, size, pages)
	if err != nil {
		t.Fatalf("shmtest: no copy of a state can be made: %v", err)
	}
	defer f.Close()
	s, err := shm.OpenFile(f, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	return watched(t, s, check, where)
}

// watched calls check. If check does not return, it says after which store.
func watched(t testing.TB, s *shm.Segment, check func(*shm.Segment) error, where func() string) error {
	t.Helper()
	returned := false
	defer func() {
		if !returned {
			t.Logf("shmtest: the check did not return from a state\n%s", where())
		}
	}()
	err := check(s)
	returned = true
	return err
}

// where says after which store a state is. all is 0 if nobody knows how many there are.
func where(i, all int, store trace.Store) string {
	if i == 0 {
		return "before the first store"
	}
	text := fmt.Sprintf("after store %d", i)
	if all > 0 {
		text += fmt.Sprintf(" of %d", all)
	}
	if store.Call {
		text += ", by a system call"
	}
	between := "\n\tat "
	for _, place := range callers(store.Stack) {
		text += between + place
		between = "\n\tfrom "
	}
	return text
}

// callers returns the lines of the program that led to a store: the one that makes it,
// and up to three outside of this module's library.
func callers(stack []uintptr) (places []string) {
	const enough = 4
	frames := runtime.CallersFrames(stack)
	for more := len(stack) > 0; more && len(places) < enough; {
		var f runtime.Frame
		f, more = frames.Next()
		if f.Function == "" || strings.HasPrefix(f.Function, "example.org/shm/shmtest.runFunction") {
			break
		}
		inLibrary := strings.HasPrefix(f.Function, "runtime.") || strings.HasPrefix(f.Function, "internal/") ||
			strings.HasPrefix(f.Function, "example.org/shm.") || strings.HasPrefix(f.Function, "example.org/shm/internal/")
		if !inLibrary || len(places) == 0 {
			places = append(places, fmt.Sprintf("%s (%s:%d)", f.Function, f.File, f.Line))
		}
	}
	return places
}
