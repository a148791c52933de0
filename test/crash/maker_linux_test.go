package crash_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
	"golang.org/x/sys/unix"
)

// opener opens segments as it is told, each the moment that a gate, which is a
// locked file, opens. It makes two values in each. Its answer is the inode and
// the values.
var opener = shmtest.Helper("opener", func(args []string) error {
	me, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return err
	}
	return shmtest.Replies(func(words []string) (string, error) {
		name, gate := words[0], words[1]
		fmt.Println("ready")
		if err := pass(gate); err != nil {
			return "", err
		}
		s, err := shm.Open(name, agent.Modest)
		if err != nil {
			return "", err
		}
		defer s.Close()
		inode, err := shmtest.Inode(s.File())
		if err != nil {
			return "", err
		}
		raw, err := shm.NewRawValue(s, "raw", me)
		if err != nil {
			return "", err
		}
		locked, err := shm.NewValue(s, "locked", me)
		if err != nil {
			return "", err
		}
		return fmt.Sprint(inode, raw.Get(), locked.Load()), nil
	})
})

// newGate returns a locked file, and the function that unlocks it.
func newGate(t *testing.T) (path string, lift func()) {
	path = filepath.Join(t.TempDir(), "gate")
	f := shmtest.Must(os.Create(path))(t)
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return path, func() { f.Close() }
}

// pass returns when the gate is open.
func pass(gate string) error {
	f, err := os.Open(gate)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_SH); err != unix.EINTR {
			return err
		}
	}
}

// Many processes make one segment, and one value in it, at the same instant. All
// of them see the same segment, and the init of the same process.
func TestManyProcessesOpenOneName(t *testing.T) {
	processes, rounds := 64, 200
	if testing.Short() || race.Enabled {
		processes, rounds = 16, 20
	}
	var all []*shmtest.Process
	for i := range processes {
		all = append(all, shmtest.Start(t, opener, strconv.Itoa(i+1)))
	}
	for range rounds {
		name := shmtest.Name(t)
		gate, lift := newGate(t)
		for _, p := range all {
			p.Say(name + " " + gate)
		}
		for _, p := range all {
			p.Expect("ready")
		}
		lift()
		first := all[0].Line()
		for _, p := range all[1:] {
			p.Expect(first)
		}
		if words := strings.Fields(first); words[1] == "0" || words[2] == "0" {
			t.Fatalf("no process's init stands: %s", first)
		}
		if err := shm.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// maker makes segments, and values in them, as fast as it can. It uses the same
// names as the other makers, again and again, and prints a line for each value.
var maker = shmtest.Helper("maker", func(args []string) error {
	for i := 0; ; i++ {
		s, err := shm.Open(madeName(args[0], i/madeValues%madeSegments), agent.Modest)
		if err != nil {
			return err
		}
		if err := makeValue(s, i%madeValues); err != nil {
			return err
		}
		if err := s.Close(); err != nil {
			return err
		}
		fmt.Println(i)
	}
})

const madeSegments, madeValues = 8, 400

func madeName(prefix string, i int) string { return fmt.Sprintf("%s-%d", prefix, i) }

// makeValue makes value i or attaches to it. It returns an error if the value is
// not as makeValue makes it.
func makeValue(s *shm.Segment, i int) error {
	name := fmt.Sprintf("v%d", i)
	switch i % 4 {
	case 0:
		v, err := shm.NewRawValue(s, name, int64(i))
		if err == nil && v.Get() != int64(i) {
			err = fmt.Errorf("%s: %s is %d", s.Name(), name, v.Get())
		}
		return err
	case 1:
		v, err := shm.NewValue(s, name, uint16(i))
		if err == nil && v.Load() != uint16(i) {
			err = fmt.Errorf("%s: %s is %d", s.Name(), name, v.Load())
		}
		return err
	case 2:
		a, err := shm.NewRawArray[uint64](s, name, 10+i*3)
		if err != nil {
			return err
		}
		for j, x := range a.All() {
			if x != 0 && x != uint64(i) {
				return fmt.Errorf("%s: %s[%d] is %#x", s.Name(), name, j, x)
			}
			a.Set(j, uint64(i))
		}
		return nil
	}
	c, err := shm.NewCharArray(s, name, 100)
	if err != nil {
		return err
	}
	if got := c.Value(); got != "" && got != name {
		return fmt.Errorf("%s: %s is %q", s.Name(), name, got)
	}
	return c.SetRaw([]byte(name + "\x00"))
}

// Processes are killed anywhere in what they do, for as long as a storm goes on. The
// others go on, and what the killed ones leave is in order.
func TestMakersAreKilled(t *testing.T) {
	const least = 30 // kills, however slow this machine is
	prefix := shmtest.Name(t)
	for i := range madeSegments {
		t.Cleanup(func() { _ = shm.Remove(madeName(prefix, i)) })
	}
	var all []*shmtest.Process
	for range 4 {
		all = append(all, shmtest.Start(t, maker, prefix))
	}
	kills := 0
	for end := time.Now().Add(*shmtest.StormLength); kills < least || time.Now().Before(end); kills++ {
		victim := rand.IntN(len(all))
		for range rand.IntN(100) {
			all[victim].Line()
		}
		all[victim].Kill()
		all[victim] = shmtest.Start(t, maker, prefix)
		for _, p := range all {
			p.Line()
		}
		if kills%10 == 0 { // so that values are made, not only found
			if err := shm.Remove(madeName(prefix, rand.IntN(madeSegments))); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
	for _, p := range all {
		p.Kill()
	}
	t.Logf("%d kills", kills)
	for i := range madeSegments {
		s := shmtest.Opened(shm.Open(madeName(prefix, i), agent.Modest))(t)
		for j := range madeValues {
			if err := makeValue(s, j); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(slices.Collect(s.Entries())); n != madeValues {
			t.Fatalf("%d values in segment %d", n, i)
		}
	}
}
