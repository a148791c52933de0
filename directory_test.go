//go:build linux

package shm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// reader attaches to the first n of the values that nameValues made and says
// "read"; then it waits to be told how many there are now.
var reader = helper("reader", func(args []string) error {
	s, err := Open(args[0], &Options{ReadOnly: args[1] == "ro"})
	if err != nil {
		return err
	}
	from := 0
	return replies(func(words []string) (string, error) {
		var n int
		if _, err := fmt.Sscan(words[0], &n); err != nil {
			return "", err
		}
		for _, i := range rand.Perm(n - from) {
			v, err := NewRawValue(s, valueName(from+i), int64(-1))
			if err != nil {
				return "", err
			}
			if v.Get() != int64(from+i) {
				return "", fmt.Errorf("%s is %d", valueName(from+i), v.Get())
			}
		}
		from = n
		return "read", nil
	})
})

func valueName(i int) string { return fmt.Sprintf("value/%06d", i) }

func nameValues(t testing.TB, s *Segment, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if v, err := NewRawValue(s, valueName(i), int64(i)); err != nil || v.Get() != int64(i) {
			t.Fatalf("value %d: %v, %v", i, v, err)
		}
	}
}

func TestHundredThousandNames(t *testing.T) {
	n := 100_000
	if testing.Short() || raceEnabled {
		n = 10_000
	}
	name := testName(t)
	s := open(t, name, nil)
	rw, ro := start(t, reader, name, "rw"), start(t, reader, name, "ro")
	// In two parts, so that the readers' index has to grow.
	for _, to := range []int{n / 3, n} {
		from := 0
		if to == n {
			from = n / 3
		}
		nameValues(t, s, from, to)
		for _, p := range []*process{rw, ro} {
			p.say(fmt.Sprint(to))
			p.expect("read")
		}
	}
	i := 0
	for e := range s.Entries() {
		if e.Name != valueName(i) || e.Access != AccessRaw || e.Len != 0 || e.Pid != os.Getpid() || e.Program != program {
			t.Fatalf("entry %d is %+v", i, e)
		}
		i++
	}
	if i != n {
		t.Fatalf("%d entries of %d", i, n)
	}
	if _, ok := s.Lookup(valueName(n)); ok {
		t.Fatal("one too many")
	}
	if e, ok := s.Lookup(valueName(n - 1)); !ok || e.Layout.Format != nativeFormat("<q") {
		t.Fatalf("%+v, %v", e, ok)
	}
}

func TestEntriesEndWhenTold(t *testing.T) {
	s := open(t, testName(t), nil)
	nameValues(t, s, 0, 10)
	seen := 0
	for range s.Entries() {
		nameValues(t, s, 10, 20) // as of the call
		if seen++; seen == 3 {
			break
		}
	}
	if got := len(slices.Collect(s.Entries())); got != 20 || seen != 3 {
		t.Fatalf("%d, then %d", seen, got)
	}
}

// TestOutgrownMapping: where the system let a process map only a part, and others
// have grown the segment beyond it, the values that it knows are there still.
func TestOutgrownMapping(t *testing.T) {
	name := testName(t)
	s := open(t, name, nil)
	v := must(NewValue(s, "known", int64(7)))(t)
	m := s.m.Load()
	m.mem = m.mem[:firstAllocation]
	p := start(t, outgrower, name)
	p.expect("grown")
	if again, err := NewValue(s, "known", int64(0)); err != nil || again.Add(1) != 8 || again.Mutex() != v.Mutex() {
		t.Errorf("a known value: %v", err)
	}
	if e, err := s.WaitFor(t.Context(), "known"); err != nil || e.Text() != "8" {
		t.Errorf("WaitFor of a known value: %v", err)
	}
	for what, err := range map[string]error{
		"beyond":  second(NewRawArray[byte](s, "beyond", 0)),
		"new":     second(NewRawValue(s, "new", int8(0))),
		"WaitFor": second(s.WaitFor(t.Context(), "beyond")),
	} {
		if !errors.Is(err, ErrFull) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

var outgrower = helper("outgrower", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	_, err = NewRawArray[byte](s, "beyond", firstAllocation)
	fmt.Println("grown")
	return err
})

// namesake makes a value of the name "v" that is a struct of its own.
var namesake = helper("namesake", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	type Point struct{ X, Y int32 }
	if _, err := NewRawStruct(s, "v", Point{1, 2}); err != nil {
		return err
	}
	fmt.Println(os.Getpid())
	return nil
})

func TestNamesThatAreSomethingElse(t *testing.T) {
	s := open(t, testName(t), nil)
	type point struct{ X, Y int32 }
	type renamed struct{ X, Z int32 }
	one := func(_ any, err error) error { return err }
	must(NewRawValue(s, "int", int32(1)))(t)
	must(NewRawArray[int32](s, "array", 8))(t)
	must(NewRawStruct(s, "point", point{}))(t)
	must(NewCharArray(s, "chars", 8))(t)
	must(NewAtomic(s, "atomic", int32(1)))(t)
	must(NewValue(s, "locked", int32(1)))(t)
	must(NewMutex(s, "mutex"))(t)
	for _, c := range []struct {
		name  string
		err   error
		words string
	}{
		{"int", one(NewRawValue(s, "int", uint32(0))), "raw int32"},
		{"int", one(NewRawValue(s, "int", int64(0))), "wanted raw int64"},
		{"int", one(NewRawValue(s, "int", float32(0))), "float32"},
		{"int", one(NewRawArray[int32](s, "int", 1)), "wanted raw [1]int32"},
		{"int", one(NewRawArray[int32](s, "int", 0)), "as one value"},
		{"int", one(NewAtomic(s, "int", int32(0))), "wanted atomic int32"},
		{"int", one(NewValue(s, "int", int32(0))), "wanted locked int32"},
		{"int", one(NewMutex(s, "int")), "wanted mutex"},
		{"int", one(NewCharArray(s, "int", 4)), "char[4]"},
		{"array", one(NewRawArray[int32](s, "array", 9)), "[9]int32"},
		{"array", one(NewRawArray[int32](s, "array", 7)), "[8]int32"},
		{"array", one(NewRawValue(s, "array", int32(0))), "[8]int32"},
		{"array", one(NewRawStruct(s, "array", [8]int32{})), "as one value"},
		{"point", one(NewRawStruct(s, "point", renamed{})), `field "Y"`},
		{"point", one(NewRawStruct(s, "point", struct{ X, Y int64 }{})), "int64"},
		{"point", one(NewRawStruct(s, "point", struct{ Y, X int32 }{})), "at 4"},
		{"point", one(NewRawStruct(s, "point", struct{ X, Y, Z int32 }{})), `field "Z"`},
		{"point", one(NewRawStruct(s, "point", [2]int32{})), "[2]int32"},
		{"chars", one(NewCharArray(s, "chars", 9)), "char[9]"},
		{"chars", one(NewRawArray[uint8](s, "chars", 8)), "[8]uint8"},
		{"chars", one(NewRawArray[int8](s, "chars", 0)), "int8"},
		{"atomic", one(NewRawValue(s, "atomic", int32(0))), "is atomic int32"},
		{"locked", one(NewAtomic(s, "locked", int32(0))), "is locked int32"},
		{"locked", one(NewRawValue(s, "locked", int32(0))), "is locked int32"},
		{"mutex", one(NewValue(s, "mutex", int32(0))), "is mutex"},
	} {
		var mismatch *LayoutError
		if !errors.As(c.err, &mismatch) {
			t.Errorf("%s: %v, want a *LayoutError", c.name, c.err)
			continue
		}
		if mismatch.Name != c.name || mismatch.Pid != os.Getpid() || mismatch.Program != program || !strings.Contains(c.err.Error(), c.words) {
			t.Errorf("%+v: %v does not say %q", mismatch, c.err, c.words)
		}
	}
	// Nothing was changed, and what fits still attaches.
	must(NewRawArray[int32](s, "array", 0))(t)
	must(NewRawArray[int32](s, "array", 8))(t)
	must(NewCharArray(s, "chars", 0))(t)
	if n := len(slices.Collect(s.Entries())); n != 7 {
		t.Errorf("%d values", n)
	}
}

func TestLayoutErrorNamesTheMaker(t *testing.T) {
	name := testName(t)
	s := open(t, name, nil)
	p := start(t, namesake, name)
	pid := p.line()
	p.wait()
	_, err := NewRawStruct(s, "v", struct{ X, Z int32 }{})
	var mismatch *LayoutError
	if !errors.As(err, &mismatch) || fmt.Sprint(mismatch.Pid) != pid || mismatch.Program != program {
		t.Fatalf("%+v; its maker was %s", mismatch, pid)
	}
	want := must(LayoutOf[struct{ X, Z int32 }]())(t)
	have := must(LayoutOf[struct{ X, Y int32 }]())(t)
	if !mismatch.Have.Equal(have) || !mismatch.Want.Equal(want) || mismatch.HaveAccess != AccessRaw || mismatch.WantAccess != AccessRaw {
		t.Fatalf("%+v", mismatch)
	}
}

func TestGoroutinesMakeOneValue(t *testing.T) {
	const goroutines, names = 16, 200
	name := testName(t)
	segments := []*Segment{open(t, name, nil), open(t, name, nil)}
	var wg sync.WaitGroup
	var made [names]sync.Map
	for g := range goroutines {
		wg.Go(func() {
			for i := range names {
				v, err := NewValue(segments[g%2], fmt.Sprint(i), int32(g+1))
				if err != nil {
					t.Error(err)
					return
				}
				made[i].Store(v.Load(), v.Mutex())
			}
		})
	}
	wg.Wait()
	for i := range names {
		n := 0
		made[i].Range(func(any, any) bool { n++; return true })
		if n != 1 {
			t.Fatalf("value %d has %d inits", i, n)
		}
	}
}
