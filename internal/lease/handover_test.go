//go:build linux

package lease

import (
	"errors"
	"io/fs"
	"testing"

	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"golang.org/x/sys/unix"
)

func TestPassing(t *testing.T) {
	for text, want := range map[string]Passing{
		"3:1:2":                       {3, sys.Key{Dev: 1, Ino: 2}, 0},
		"10:18446744073709551615:7:4": {10, sys.Key{Dev: 1<<64 - 1, Ino: 7}, 4},
	} {
		if p, ok := ParsePassing(text); !ok || p != want || p.String() != text {
			t.Errorf("%q: %v, %v", text, p, ok)
		}
	}
	for _, text := range []string{"", "3", "3:1", "2:1:2", "x:1:2", "3:-1:2", "3:1:2:", "3:1:2:2", "3:1:2:3:4", "3:1:2:4294967296", "+3:1:2", " 3:1:2"} {
		if p, ok := ParsePassing(text); ok {
			t.Errorf("%q: %v", text, p)
		}
	}
}

// handOver does what a parent and its child do: it leaves a description in a socket, and
// receives it.
func handOver(t *testing.T, s *memtest.Segment) sys.Key {
	t.Helper()
	key, _, err := sys.Identify(s.File, s.Path)
	if err != nil {
		t.Fatal(err)
	}
	description := shmtest.Must(sys.Reopen(s.File, s.Path))(t)
	end := shmtest.Opened(sys.Send(description))(t)
	if err := description.Close(); err != nil {
		t.Fatal(err)
	}
	socket := shmtest.Must(unix.FcntlInt(end.Fd(), unix.F_DUPFD_CLOEXEC, 3))(t)
	t.Setenv(PassVariable("x"), Passing{FD: 3, Key: key, Socket: socket}.String())
	Receive(key, s.Path)
	t.Cleanup(func() {
		passed.Lock()
		defer passed.Unlock()
		if f := passed.files[key]; f != nil {
			_ = f.Close()
			delete(passed.files, key)
		}
	})
	return key
}

// An owner uses the description that was handed over, and the next owner after it does
// so again: this process may have no other way to one.
func TestDescriptionThatWasHandedOver(t *testing.T) {
	s := memtest.New(t)
	key := handOver(t, s)
	own := passed.files[key]
	if own == nil {
		t.Fatal("nothing was received")
	}
	handOver(t, s)
	if passed.files[key] != own {
		t.Error("a second description takes the place of the first")
	}
	var before uint32
	for range 3 {
		o := newOwner(s)
		o.Remember(key)
		if err := o.Take(s.File); err != nil || o.control.file != own || o.ID() <= before {
			t.Fatalf("id %d, after %d, through another description: %v; %v", o.ID(), before, o.control.file != own, err)
		}
		if !o.Held(s.File, o.ID()) {
			t.Error("it holds no lease")
		}
		o.Remember(key) // as the second attachment does
		o.control.Close()
		if held(s.File, o.ID()) {
			t.Error("a mapping that has ended keeps its lease")
		}
		before = o.ID()
	}
	o := newOwner(s)
	o.Remember(key)
	unlock, err := o.LockAllocation(s.File)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	o.control.Close() // It has no lease.
	if _, _, err := sys.Identify(own, ""); err != nil {
		t.Errorf("it is closed: %v", err)
	}
}

// A mapping that has a description of its own needs no other.
func TestDescriptionThatIsNotNeeded(t *testing.T) {
	s := memtest.New(t)
	o := taken(t, s)
	file := o.control.file
	key := handOver(t, s)
	own := passed.files[key]
	o.Remember(key)
	if _, _, err := sys.Identify(own, ""); !errors.Is(err, fs.ErrClosed) || passed.files[key] != nil || o.control.file != file {
		t.Errorf("it is kept: %v", err)
	}
}

// What cannot be received is left alone.
func TestNothingIsHandedOver(t *testing.T) {
	s := memtest.New(t)
	o := taken(t, s)
	t.Setenv(PassVariable("x"), Passing{FD: 3, Key: o.key, Socket: int(s.File.Fd())}.String())
	Receive(o.key, s.Path)
	if passed.files[o.key] != nil || !o.Alive(taken(t, s).ID()) {
		t.Error("a file was taken for a socket")
	}
}
