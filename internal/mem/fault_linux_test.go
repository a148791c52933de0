package mem_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// addCleanup has f called when the collector runs.
func addCleanup(f func()) { runtime.AddCleanup(new([100]int), func(f func()) { f() }, f) }

func TestGuarded(t *testing.T) {
	f := file(t, 3*sys.PageSize)
	r := region(t, f, false)
	check(t, r.Guarded(func() error { *mem.At[int8](r, 2*sys.PageSize) = 1; return nil }))
	cause := errors.New("cause")
	if err := r.Guarded(func() error { return cause }); err != cause {
		t.Fatal(err)
	}
	check(t, os.Truncate(f.Name(), 100))
	// The page in which the file ends is there, with zeros behind the end.
	check(t, r.Guarded(func() error { *mem.At[int8](r, sys.PageSize-1) = 1; return nil }))
	p := mem.At[int8](r, 2*sys.PageSize+4)
	for what, touch := range map[string]func() error{
		"read":  func() error { return errors.New(string(rune(*p))) },
		"write": func() error { *p = 1; return nil },
		"nested": func() error {
			return r.Guarded(func() error { *p = 1; return nil })
		},
		"Load": func() error { mem.Load(p); return nil },
	} {
		err := r.Guarded(touch)
		text := fmt.Sprintf("no memory at byte %d: the file was cut off, or its filesystem is full", 2*sys.PageSize+4)
		if !errors.Is(err, errs.Format) || !shmtest.IsPathError(err, f.Name()) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if debug.SetPanicOnFault(false) {
		t.Error("faults are panics after Guarded")
	}
}

// TestGuardedLetsOtherPanicsPass: also faults that are of other memory.
func TestGuardedLetsOtherPanicsPass(t *testing.T) {
	f, other := file(t, sys.PageSize), file(t, sys.PageSize)
	r, gone := region(t, f, false), region(t, other, false)
	check(t, os.Truncate(other.Name(), 0))
	var nowhere *flags
	for what, c := range map[string]func() error{
		"nil":          func() error { nowhere.N++; return nil },
		"other memory": func() error { gone.Bytes[0]++; return nil },
		"bounds":       func() error { mem.At[int64](r, sys.PageSize); return nil },
	} {
		if p := shmtest.Panic(func() { _ = r.Guarded(c) }); p == nil {
			t.Errorf("%s: it is swallowed", what)
		}
	}
	own := errors.New("of its own")
	if p := shmtest.Panic(func() { _ = r.Guarded(func() error { panic(own) }) }); p != own {
		t.Errorf("a panic has become %v", p)
	}
	if debug.SetPanicOnFault(false) {
		t.Error("faults are panics after Guarded")
	}
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	check(t, r.Guarded(func() error { return nil }))
	if !debug.SetPanicOnFault(true) {
		t.Error("Guarded has not restored what was set")
	}
}

func TestReadOnlyRegionCannotBeWritten(t *testing.T) {
	r := region(t, file(t, sys.PageSize), true)
	if err := r.Guarded(func() error { r.Bytes[0] = 1; return nil }); !errors.Is(err, errs.Format) {
		t.Fatal(err)
	}
}
