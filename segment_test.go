//go:build linux

package shm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"testing"
)

func TestOpenAsTheOptionsAsk(t *testing.T) {
	for _, name := range []string{testName(t), filepath.Join(t.TempDir(), "segment")} {
		for _, o := range []Options{{MustExist: true}, {ReadOnly: true}, {Foreign: true}} {
			if _, err := Open(name, &o); !errors.Is(err, fs.ErrNotExist) || !isPathError(err, Path(name)) {
				t.Fatalf("%+v of a missing name: %v", o, err)
			}
		}
		if err := Remove(name); !errors.Is(err, fs.ErrNotExist) || !isPathError(err, Path(name)) {
			t.Fatalf("Remove of a missing name: %v", err)
		}
		s := open(t, name, &Options{Exclusive: true})
		if s.Name() != name || s.Size() < headerSize {
			t.Fatalf("%q of %d bytes", s.Name(), s.Size())
		}
		if _, err := Open(name, &Options{Exclusive: true}); !errors.Is(err, fs.ErrExist) || !isPathError(err, Path(name)) {
			t.Fatalf("Exclusive of what exists: %v", err)
		}
		open(t, name, &Options{MustExist: true})
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		if err := Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range []Options{
		{Exclusive: true, MustExist: true}, {Exclusive: true, ReadOnly: true}, {Exclusive: true, Foreign: true},
		{MaxSize: -1}, {MaxSize: 1 << 62}, {Mode: fs.ModeSetuid | 0o600}, {Mode: fs.ModeDir},
	} {
		if _, err := Open(testName(t), &o); !errors.Is(err, fs.ErrInvalid) {
			t.Fatalf("%+v: %v", o, err)
		}
	}
}

// isPathError reports whether err is a *fs.PathError itself, of that path.
func isPathError(err error, path string) bool {
	e, ok := err.(*fs.PathError)
	return ok && e.Path == path && e.Err != nil && e.Op != ""
}

func TestRemoveLeavesTheMemory(t *testing.T) {
	name := testName(t)
	s := open(t, name, nil)
	v := must(NewRawValue(s, "n", int32(7)))(t)
	if err := Remove(name); err != nil {
		t.Fatal(err)
	}
	again := open(t, name, nil)
	if _, ok := again.Lookup("n"); ok {
		t.Fatal("the new segment has the old one's value")
	}
	if v.Set(8); must(NewRawValue(s, "n", int32(0)))(t).Get() != 8 {
		t.Fatal("the old segment lost its value")
	}
}

// waitFor waits for a value and says what it found.
var waitFor = helper("waitFor", func(args []string) error {
	s, err := Open(args[0], &Options{ReadOnly: args[1] == "ro"})
	if err != nil {
		return err
	}
	fmt.Println("waiting")
	e, err := s.WaitFor(context.Background(), "late")
	if err != nil {
		return err
	}
	fmt.Println(e.Name, e.Layout.Format, e.Len, e.Access)
	return nil
})

func TestWaitForAValueOfAnotherProcess(t *testing.T) {
	name := testName(t)
	s := open(t, name, nil)
	var all []*process
	for _, mode := range []string{"rw", "ro", "rw"} {
		p := start(t, waitFor, name, mode)
		p.expect("waiting")
		all = append(all, p)
	}
	must(NewRawValue(s, "early", int8(1)))(t)
	must(NewRawArray[float32](s, "late", 9))(t)
	for _, p := range all {
		p.expect("late " + nativeFormat("<f") + " 9 raw")
		p.wait()
	}
}

func TestWaitForEnds(t *testing.T) {
	s := open(t, testName(t), nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	for range 3 {
		go func() {
			_, err := s.WaitFor(ctx, "never")
			done <- err
		}()
	}
	cancel()
	for range 3 {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	must(NewRawValue(s, "n", int8(1)))(t)
	if e, err := s.WaitFor(ctx, "n"); err != nil || e.Name != "n" {
		t.Fatalf("what is there already: %+v, %v", e, err)
	}
	go func() {
		_, err := s.WaitFor(t.Context(), "never")
		done <- err
	}()
	s.Close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	// Two attachments wait in one mapping, and one sleeps for both: the other is
	// told all the same.
	name := testName(t)
	sleeper, guest := open(t, name, nil), open(t, name, nil)
	for i, s := range []*Segment{sleeper, guest} {
		go func() {
			_, err := s.WaitFor(t.Context(), "never")
			done <- err
		}()
		l := &s.m.Load().lobby
		eventually(t, "it waits", func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.sleeping && len(l.guests) == i+1
		})
	}
	for _, s := range []*Segment{guest, sleeper} {
		s.Close()
		within(t, "the end of a wait in a closed segment", func() {
			if err := <-done; !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		})
	}
}
