package shm_test

import (
	"errors"
	"io/fs"
	"math"
	"strings"
	"sync"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

func TestAtomicArray(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	a := shmtest.Must(shm.NewAtomicArray[int32](s, "a", 3))(t)
	b := shmtest.Must(shm.NewAtomicArray[int32](open(t, s.Name(), &shm.Options{ReadOnly: true}), "a", 0))(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				a.At(2).Add(1)
			}
		})
	}
	wg.Wait()
	a.At(0).Store(-7)
	if a.Len() != 3 || b.Len() != 3 || b.At(0).Load() != -7 || b.At(1).Load() != 0 || b.At(2).Load() != 4000 {
		t.Errorf("%d, %d, %d of %d", b.At(0).Load(), b.At(1).Load(), b.At(2).Load(), b.Len())
	}
	if err, ok := shmtest.Panic(func() { b.At(0).Add(1) }).(error); !ok || !errors.Is(err, shm.ErrReadOnly) {
		t.Errorf("read-only: panic %v", err)
	}
	for _, i := range []int{-1, 3} {
		if err, ok := shmtest.Panic(func() { a.At(i) }).(error); !ok || !strings.Contains(err.Error(), "out of range") {
			t.Errorf("At(%d): panic %v", i, err)
		}
	}
	e, _ := s.Lookup("a")
	if got := e.Text(); got != "[-7, 0, 4000]" {
		t.Errorf("the text is %s", got)
	}
	if err := e.Parse("[1: 5]"); err != nil || a.At(1).Load() != 5 || a.At(2).Load() != 4000 {
		t.Errorf("after Parse: %d, %v", a.At(1).Load(), err)
	}
	single := shmtest.Must(shm.NewAtomic[int32](s, "single", 0))(t)
	single.Add(1)
	for what, err := range map[string]error{
		"another number": shmtest.Error(shm.NewAtomicArray[int32](s, "a", 4)),
		"another type":   shmtest.Error(shm.NewAtomicArray[uint32](s, "a", 3)),
		"one integer":    shmtest.Error(shm.NewAtomicArray[int32](s, "single", 1)),
		"an Atomic":      shmtest.Error(shm.NewAtomic[int32](s, "a", 0)),
		"a RawArray":     shmtest.Error(shm.NewRawArray[int32](s, "a", 3)),
	} {
		var mismatch *shm.LayoutError
		if !errors.As(err, &mismatch) || !strings.Contains(err.Error(), "Atomic") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for n, want := range map[int]error{-1: fs.ErrInvalid, 0: fs.ErrNotExist, min(1<<40, math.MaxInt>>5): shm.ErrFull} {
		if _, err := shm.NewAtomicArray[int32](s, "x", n); !errors.Is(err, want) {
			t.Errorf("%d of them: %v", n, err)
		}
	}
}
