//go:build linux

package shm

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func TestUseAfterClose(t *testing.T) {
	name := testName(t)
	s := open(t, name, nil)
	other := open(t, name, nil)
	raw := must(NewRawValue(s, "raw", int64(1)))(t)
	array := must(NewRawArray[int32](s, "array", 1000))(t)
	record := must(NewRawStruct(s, "struct", struct{ X, Y int32 }{1, 2}))(t)
	chars := must(NewCharArray(s, "chars", 100))(t)
	counter := must(NewAtomic(s, "atomic", int64(1)))(t)
	locked := must(NewValue(s, "locked", int64(1)))(t)
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
	// The memory is the segment's still.
	if must(NewRawValue(other, "raw", int64(0)))(t).Get() != 4 || must(NewValue(other, "locked", int64(0)))(t).Load() != 4 ||
		must(NewCharArray(other, "chars", 0))(t).Value() != "xxx" || must(NewAtomic(other, "atomic", int64(0)))(t).Load() != 4 {
		t.Error("what was written after Close is lost")
	}
	for what, err := range map[string]error{
		"raw":     second(NewRawValue(s, "raw", int64(1))),
		"new":     second(NewRawArray[int8](s, "new", 8)),
		"chars":   second(NewCharArray(s, "chars", 0)),
		"locked":  second(NewValue(s, "locked", int64(1))),
		"mutex":   second(NewMutex(s, "mutex")),
		"WaitFor": second(s.WaitFor(t.Context(), "raw")),
		"At":      second(RawValueAt[int8](s, 0)),
		"Sync":    s.Sync(),
	} {
		if !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), name) {
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

// second returns the error of two results.
func second[T any](_ T, err error) error { return err }

// TestCloseDuringUse closes segments while goroutines do everything with them
// and the collector runs.
func TestCloseDuringUse(t *testing.T) {
	rounds := 300
	if testing.Short() || raceEnabled {
		rounds = 60
	}
	name := testName(t)
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
		if err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	for round := range rounds {
		s, err := Open(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := range 50 {
					v, err := NewRawValue(s, fmt.Sprintf("raw %d", i), int64(i))
					fine(err)
					if err == nil {
						if got := v.Get(); got != int64(i) {
							t.Errorf("value %d is %d", i, got)
						}
					}
					a, err := NewRawArray[byte](s, fmt.Sprintf("array %d %d %d", round, g, i), 500)
					fine(err)
					if err == nil {
						a.Set(499, 1)
					}
					l, err := NewValue(s, "locked", int64(0))
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

// TestOpenAndCloseTogether opens and closes one name from several goroutines,
// so that mappings die as others are born.
func TestOpenAndCloseTogether(t *testing.T) {
	name := testName(t)
	must(NewAtomic(open(t, name, nil), "n", int64(0)))(t)
	rounds := 300
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range rounds {
				s, err := Open(name, &Options{ReadOnly: g == 3})
				if err != nil {
					t.Error(err)
					return
				}
				n, err := NewAtomic(s, "n", int64(0))
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
	if got := must(NewAtomic(open(t, name, nil), "n", int64(0)))(t).Load(); got != int64(3*rounds) {
		t.Fatalf("%d additions counted %d", 3*rounds, got)
	}
}
