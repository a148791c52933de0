//go:build windows

package shm_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// windowsPeer is another process. Its argument is a segment's name, or "" for one that it
// inherits.
var windowsPeer = shmtest.Helper("windows peer", func(args []string) error {
	var s *shm.Segment
	var err error
	if args[0] == "" {
		s, err = shm.Inherited("", nil)
	} else {
		s, err = shm.Open(args[0], nil)
	}
	if err != nil {
		return err
	}
	n, err := shm.NewValue[int64](s, "n", 0)
	if err != nil {
		return err
	}
	mu, err := shm.NewMutex(s, "mu")
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return shmtest.Replies(func(words []string) (string, error) {
		switch words[0] {
		case "add":
			for range 300 {
				n.Update(func(x int64) int64 { return x + 1 })
			}
		case "lock":
			mu.Lock()
		case "await":
			x, err := n.Await(context.Background(), func(x int64) bool { return x == 1000 })
			return fmt.Sprint(x), err
		}
		return "done", nil
	})
})

// Several processes use a segment by its name, and one that is killed in the lock is
// replaced.
func TestProcessesOnWindows(t *testing.T) {
	for _, name := range []string{shmtest.Name(t), shm.Path(shmtest.Name(t))} {
		s := open(t, name, nil)
		n := shmtest.Must(shm.NewValue[int64](s, "n", 0))(t)
		mu := shmtest.Must(shm.NewMutex(s, "mu"))(t)
		var all []*shmtest.Process
		for range 2 {
			p := shmtest.Start(t, windowsPeer, name)
			p.Expect("ready")
			all = append(all, p)
		}
		for _, p := range all {
			p.Say("add")
		}
		for range 300 {
			n.Update(func(x int64) int64 { return x + 1 })
		}
		for _, p := range all {
			p.Expect("done")
		}
		if got := n.Load(); got != 900 {
			t.Errorf("%d additions of 900", got)
		}
		all[1].Say("await")
		all[0].Do("lock", "done")
		if mu.TryLock() {
			t.Fatal("another process has the lock")
		}
		all[0].Kill()
		began := time.Now()
		mu.Lock()
		t.Logf("a dead owner was replaced after %v", time.Since(began))
		mu.Unlock()
		n.Store(1000)
		all[1].Expect("1000")

		if err := shm.Remove(name); err != nil {
			t.Fatal(err)
		}
		if _, err := shm.Open(name, &shm.Options{MustExist: true}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after Remove: %v", err)
		}
		all[1].Do("add", "done")
		if got := n.Load(); got != 1300 {
			t.Errorf("a removed segment has %d", got)
		}
	}
}

func TestPassOnWindows(t *testing.T) {
	s := shmtest.Opened(shm.Anonymous(nil))(t)
	n := shmtest.Must(shm.NewValue[int64](s, "n", 0))(t)
	p := shmtest.StartCmd(t, windowsPeer, func(cmd *exec.Cmd) { s.Pass(cmd); s.Pass(cmd) }, "")
	p.Expect("ready")
	p.Do("add", "done")
	if got := n.Load(); got != 300 {
		t.Errorf("%d additions of 300", got)
	}
}

func TestNamesOnWindows(t *testing.T) {
	for _, name := range []string{"CON", "nul.x", "a:b:c", `dir\`, "a?"} {
		if _, err := shm.Open(name, nil); !errors.Is(err, fs.ErrInvalid) || !shmtest.IsPathError(err, name) {
			t.Errorf("%q: %v", name, err)
		}
	}
	s := open(t, shmtest.Name(t), nil)
	b := shmtest.Must(shm.NewRawArray[byte](s, "large", 3<<20))(t)
	b.Set(3<<20-1, 7)
	if err := s.Sync(); err != nil {
		t.Error(err)
	}
}
