package shm

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

	"golang.org/x/sys/unix"
)

// inodeOf returns the number of the file behind an open segment.
func inodeOf(s *Segment) (uint64, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(s.File().Fd()), &st)
	return st.Ino, err
}

// opener opens the segments that it is told, each the moment that the gate, a
// locked file, opens, and makes a value of each kind in it.
var opener = helper("opener", func(args []string) error {
	me, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return err
	}
	return replies(func(words []string) (string, error) {
		name, gate := words[0], words[1]
		fmt.Println("ready")
		f, err := os.Open(gate)
		if err != nil {
			return "", err
		}
		defer f.Close()
		if err := retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_SH) }); err != nil {
			return "", err
		}
		s, err := Open(name, nil)
		if err != nil {
			return "", err
		}
		defer s.Close()
		ino, err := inodeOf(s)
		if err != nil {
			return "", err
		}
		raw, err := NewRawValue(s, "raw", me)
		if err != nil {
			return "", err
		}
		locked, err := NewValue(s, "locked", me)
		if err != nil {
			return "", err
		}
		return fmt.Sprint(ino, raw.Get(), locked.Load()), nil
	})
})

// gate returns a locked file and the function that lets all waiters go.
func gate(t *testing.T) (path string, lift func()) {
	path = filepath.Join(t.TempDir(), "gate")
	f := must(os.Create(path))(t)
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return path, func() { f.Close() }
}

// TestManyProcessesOpenOneName has many processes make one segment, and one
// value in it, at the same instant: there is one of each, and one init.
func TestManyProcessesOpenOneName(t *testing.T) {
	procs, rounds := 64, 200
	if testing.Short() || raceEnabled {
		procs, rounds = 16, 20
	}
	var all []*process
	for i := range procs {
		all = append(all, start(t, opener, strconv.Itoa(i+1)))
	}
	for range rounds {
		name := testName(t)
		path, lift := gate(t)
		for _, p := range all {
			p.say(name + " " + path)
		}
		for _, p := range all {
			p.expect("ready")
		}
		lift()
		first := all[0].line()
		for _, p := range all[1:] {
			p.expect(first)
		}
		if words := strings.Fields(first); words[1] == "0" || words[2] == "0" {
			t.Fatalf("nobody's init stands: %s", first)
		}
		if err := Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// maker makes segments and values in them as fast as it can, over and over the
// same names as its siblings, and reports each value.
var maker = helper("maker", func(args []string) error {
	for i := 0; ; i++ {
		s, err := Open(fmt.Sprintf("%s-%d", args[0], i/stormValues%stormSegments), nil)
		if err != nil {
			return err
		}
		if err := stormValue(s, i%stormValues); err != nil {
			return err
		}
		if err := s.Close(); err != nil {
			return err
		}
		fmt.Println(i)
	}
})

const stormSegments, stormValues = 8, 400

// stormValue makes or attaches to value i, and checks that it is what it can
// only be.
func stormValue(s *Segment, i int) error {
	name := fmt.Sprintf("v%d", i)
	switch i % 4 {
	case 0:
		v, err := NewRawValue(s, name, int64(i))
		if err == nil && v.Get() != int64(i) {
			err = fmt.Errorf("%s: %s is %d", s.Name(), name, v.Get())
		}
		return err
	case 1:
		v, err := NewValue(s, name, uint16(i))
		if err == nil && v.Load() != uint16(i) {
			err = fmt.Errorf("%s: %s is %d", s.Name(), name, v.Load())
		}
		return err
	case 2:
		a, err := NewRawArray[uint64](s, name, 10+i*3)
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
	c, err := NewCharArray(s, name, 100)
	if err != nil {
		return err
	}
	if got := c.Value(); got != "" && got != name {
		return fmt.Errorf("%s: %s is %q", s.Name(), name, got)
	}
	return c.SetRaw([]byte(name + "\x00"))
}

// TestMakersAreKilled kills processes anywhere in what they do: the others get
// on, and what they leave is in order.
func TestMakersAreKilled(t *testing.T) {
	kills := 200
	if testing.Short() || raceEnabled {
		kills = 30
	}
	base := testName(t)
	for i := range stormSegments {
		t.Cleanup(func() { _ = Remove(fmt.Sprintf("%s-%d", base, i)) })
	}
	var all []*process
	for range 4 {
		all = append(all, start(t, maker, base))
	}
	for n := range kills {
		victim := rand.IntN(len(all))
		for range rand.IntN(100) {
			all[victim].line()
		}
		all[victim].kill()
		all[victim] = start(t, maker, base)
		for _, p := range all {
			p.line()
		}
		if n%10 == 0 { // so that values are made, not only found
			if err := Remove(fmt.Sprintf("%s-%d", base, rand.IntN(stormSegments))); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
	for _, p := range all {
		p.kill()
	}
	for i := range stormSegments {
		s := open(t, fmt.Sprintf("%s-%d", base, i), nil)
		for j := range stormValues {
			if err := stormValue(s, j); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(slices.Collect(s.Entries())); n != stormValues {
			t.Fatalf("%d values in segment %d", n, i)
		}
	}
}
