//go:build linux

package shm_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
)

func TestUseAfterClose(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	other := open(t, name, nil)
	raw := shmtest.Must(shm.NewRawValue(s, "raw", int64(1)))(t)
	array := shmtest.Must(shm.NewRawArray[int32](s, "array", 1000))(t)
	record := shmtest.Must(shm.NewRawStruct(s, "struct", struct{ X, Y int32 }{1, 2}))(t)
	chars := shmtest.Must(shm.NewCharArray(s, "chars", 100))(t)
	counter := shmtest.Must(shm.NewAtomic(s, "atomic", int64(1)))(t)
	locked := shmtest.Must(shm.NewValue(s, "locked", int64(1)))(t)
	entry, _ := s.Lookup("raw")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		runtime.GC()
		raw.Set(raw.Get() + 1)
		array.Set(999, array.Get(999)+1)
		record.Set(record.Get())
		if err := chars.SetValue(chars.Value() + "x"); err != nil {
			t.Fatal(err)
		}
		counter.Add(1)
		locked.Add(1)
	}
	// The memory is still that of the segment.
	if shmtest.Must(shm.NewRawValue(other, "raw", int64(0)))(t).Get() != 4 || shmtest.Must(shm.NewValue(other, "locked", int64(0)))(t).Load() != 4 ||
		shmtest.Must(shm.NewCharArray(other, "chars", 0))(t).Value() != "xxx" || shmtest.Must(shm.NewAtomic(other, "atomic", int64(0)))(t).Load() != 4 {
		t.Error("what was written after Close is lost")
	}
	for what, err := range map[string]error{
		"raw":     shmtest.Error(shm.NewRawValue(s, "raw", int64(1))),
		"new":     shmtest.Error(shm.NewRawArray[int8](s, "new", 8)),
		"chars":   shmtest.Error(shm.NewCharArray(s, "chars", 0)),
		"locked":  shmtest.Error(shm.NewValue(s, "locked", int64(1))),
		"mutex":   shmtest.Error(shm.NewMutex(s, "mutex")),
		"WaitFor": shmtest.Error(s.WaitFor(t.Context(), "raw")),
		"At":      shmtest.Error(shm.RawValueAt[int8](s, 0)),
		"Sync":    s.Sync(),
	} {
		if !errors.Is(err, shm.ErrClosed) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
	for e := range s.Entries() {
		t.Errorf("entry %q after Close", e.Name)
	}
	if _, ok := s.Lookup("raw"); ok || s.Size() != 0 || s.Name() != name || entry.Name != "raw" {
		t.Error("it is not as closed as it should be")
	}
}

// TestCloseDuringUse closes segments while goroutines use them and the garbage
// collector runs.
func TestCloseDuringUse(t *testing.T) {
	rounds := 300
	if testing.Short() || race.Enabled {
		rounds = 60
	}
	name := shmtest.Name(t)
	stop := make(chan struct{})
	var collector sync.WaitGroup
	collector.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	})
	fine := func(err error) {
		if err != nil && !errors.Is(err, shm.ErrClosed) {
			t.Error(err)
		}
	}
	for round := range rounds {
		s, err := shm.Open(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := range 50 {
					v, err := shm.NewRawValue(s, fmt.Sprintf("raw %d", i), int64(i))
					fine(err)
					if err == nil {
						if got := v.Get(); got != int64(i) {
							t.Errorf("value %d is %d", i, got)
						}
					}
					a, err := shm.NewRawArray[byte](s, fmt.Sprintf("array %d %d %d", round, g, i), 500)
					fine(err)
					if err == nil {
						a.Set(499, 1)
					}
					l, err := shm.NewValue(s, "locked", int64(0))
					fine(err)
					if err == nil {
						l.Add(1)
					}
					s.Lookup("locked")
					s.Size()
				}
			})
		}
		if round%3 != 0 {
			runtime.Gosched()
		}
		wg.Go(func() { fine(s.Close()) })
		wg.Go(func() { fine(s.Close()) })
		wg.Wait()
	}
	close(stop)
	collector.Wait()
}

// TestOpenAndCloseTogether opens and closes one name in several goroutines, so that a
// mapping may end while another one of the same file begins.
func TestOpenAndCloseTogether(t *testing.T) {
	name := shmtest.Name(t)
	shmtest.Must(shm.NewAtomic(open(t, name, nil), "n", int64(0)))(t)
	rounds := 300
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range rounds {
				s, err := shm.Open(name, &shm.Options{ReadOnly: g == 3})
				if err != nil {
					t.Error(err)
					return
				}
				n, err := shm.NewAtomic(s, "n", int64(0))
				if err != nil {
					t.Error(err)
				} else if g != 3 {
					n.Add(1)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				n.Load()
				if i%10 == 0 {
					runtime.GC()
				}
			}
		})
	}
	wg.Wait()
	if got := shmtest.Must(shm.NewAtomic(open(t, name, nil), "n", int64(0)))(t).Load(); got != int64(3*rounds) {
		t.Fatalf("%d additions counted %d", 3*rounds, got)
	}
}
