//go:build linux

package shm_test

import (
	"errors"
	"io/fs"
	"math"
	"strings"
	"sync"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

func TestString(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	v := shmtest.Must(shm.NewString(s, "v", 8))(t)
	neighbour := shmtest.Must(shm.NewString(s, "neighbour", 8))(t)
	if err := neighbour.Store("neighbor"); err != nil {
		t.Fatal(err)
	}
	ro := shmtest.Must(shm.NewString(open(t, name, &shm.Options{ReadOnly: true}), "v", 0))(t)
	if v.Load() != "" || v.Cap() != 8 || ro.Cap() != 8 {
		t.Fatalf("it starts as %q, %d, %d", v.Load(), v.Cap(), ro.Cap())
	}
	for _, text := range []string{"a", "exactly8", "", "exactly8", "bc", "é\xff\n", "seven77"} {
		if err := v.Store(text); err != nil {
			t.Fatal(err)
		}
		if v.Load() != text || ro.Load() != text {
			t.Fatalf("%q has become %q, %q", text, v.Load(), ro.Load())
		}
		for text, want := range map[string]error{
			"nine byte": shm.ErrTooLong, "a\x00b": fs.ErrInvalid, "\x00": fs.ErrInvalid, "exactly\x00": fs.ErrInvalid,
			strings.Repeat("x", 1000): shm.ErrTooLong,
		} {
			if err := v.Store(text); !errors.Is(err, want) || !strings.Contains(err.Error(), `"v"`) {
				t.Errorf("%q: %v", text, err)
			}
		}
		if v.Load() != text {
			t.Fatal("a store that failed has changed something")
		}
	}
	if neighbour.Load() != "neighbor" {
		t.Errorf("the next value is %q", neighbour.Load())
	}
}

func TestStringConstructor(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	shmtest.Must(shm.NewString(s, "v", 8))(t)
	shmtest.Must(shm.NewCharArray(s, "raw", 8))(t)
	var mismatch *shm.LayoutError
	for what, c := range map[string]struct {
		err  error
		want error
	}{
		"negative": {shmtest.Error(shm.NewString(s, "n", -1)), fs.ErrInvalid},
		"none":     {shmtest.Error(shm.NewString(s, "n", 0)), fs.ErrNotExist},
		"huge":     {shmtest.Error(shm.NewString(s, "n", math.MaxInt)), fs.ErrInvalid},
	} {
		if !errors.Is(c.err, c.want) && !errors.Is(c.err, shm.ErrFull) {
			t.Errorf("%s: %v", what, c.err)
		}
	}
	for what, err := range map[string]error{
		"longer": shmtest.Error(shm.NewString(s, "v", 9)), "shorter": shmtest.Error(shm.NewString(s, "v", 7)), "raw": shmtest.Error(shm.NewString(s, "raw", 8)),
		"the reverse": shmtest.Error(shm.NewCharArray(s, "v", 8)), "array": shmtest.Error(shm.NewStruct(s, "v", [8]byte{})),
	} {
		if !errors.As(err, &mismatch) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if shmtest.Must(shm.NewString(s, "v", 0))(t).Cap() != 8 {
		t.Error("the length found is another")
	}
}

// The Mutex of a String keeps Store waiting, but not Load.
func TestStringUnderItsMutex(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	v := shmtest.Must(shm.NewString(s, "v", 8))(t)
	if err := v.Store("before"); err != nil {
		t.Fatal(err)
	}
	v.Mutex().Lock()
	stored := make(chan error)
	go func() { stored <- v.Store("after") }()
	cell := agent.Cell(t, s, "v")
	shmtest.Eventually(t, "Store waits", func() bool { return cell.Word.Load()&format.LocalWaiters != 0 })
	if text := v.Load(); text != "before" {
		t.Errorf("%q while the lock is held", text)
	}
	v.Mutex().Unlock()
	if err := <-stored; err != nil || v.Load() != "after" {
		t.Errorf("%v, %q after the unlock", err, v.Load())
	}
}

// TestStringIsNeverTorn stores texts of one letter each, of all lengths.
func TestStringIsNeverTorn(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	v := shmtest.Must(shm.NewString(s, "v", 100))(t)
	var wg sync.WaitGroup
	for _, letter := range []string{"a", "b", "c"} {
		wg.Go(func() {
			for i := range 3000 {
				if err := v.Store(strings.Repeat(letter, i%101)); err != nil {
					t.Error(err)
				}
				if text := v.Load(); text != "" && strings.Trim(text, text[:1]) != "" {
					t.Errorf("torn: %q", text)
				}
			}
		})
	}
	wg.Wait()
}
