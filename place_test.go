//go:build linux

package shm_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// reader is told how many values nameValues has made. It reads those that are new, and
// prints "read".
var reader = shmtest.Helper("reader", func(args []string) error {
	s, err := shm.Open(args[0], &shm.Options{ReadOnly: args[1] == "ro"})
	if err != nil {
		return err
	}
	from := 0
	return shmtest.Replies(func(words []string) (string, error) {
		var n int
		if _, err := fmt.Sscan(words[0], &n); err != nil {
			return "", err
		}
		for _, i := range rand.Perm(n - from) {
			v, err := shm.NewRawValue(s, valueName(from+i), int64(-1))
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

func nameValues(t testing.TB, s *shm.Segment, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if v, err := shm.NewRawValue(s, valueName(i), int64(i)); err != nil || v.Get() != int64(i) {
			t.Fatalf("value %d: %v, %v", i, v, err)
		}
	}
}

func TestHundredThousandNames(t *testing.T) {
	n := 100_000
	if testing.Short() || race.Enabled {
		n = 10_000
	}
	name := shmtest.Name(t)
	s := open(t, name, nil)
	rw, ro := shmtest.Start(t, reader, name, "rw"), shmtest.Start(t, reader, name, "ro")
	// In two parts, so that the readers' index has to grow.
	for _, to := range []int{n / 3, n} {
		from := 0
		if to == n {
			from = n / 3
		}
		nameValues(t, s, from, to)
		for _, p := range []*shmtest.Process{rw, ro} {
			p.Say(fmt.Sprint(to))
		}
		rw.Expect("read")
		ro.Expect("read")
	}
	i := 0
	for e := range s.Entries() {
		if e.Name != valueName(i) || e.Access != shm.AccessRaw || e.Len != 0 || e.Pid != os.Getpid() || e.Program != sys.Program() {
			t.Fatalf("entry %d is %+v", i, e)
		}
		i++
	}
	if i != n {
		t.Fatalf("%d entries of %d", i, n)
	}
	if _, ok := s.Lookup(valueName(n)); ok {
		t.Fatal("there is one too many")
	}
	if e, ok := s.Lookup(valueName(n - 1)); !ok || e.Layout.Format != shmtest.Must(shm.LayoutOf[int64]())(t).Format {
		t.Fatalf("%+v, %v", e, ok)
	}
}

func TestNamesThatAreSomethingElse(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	type point struct{ X, Y int32 }
	type renamed struct{ X, Z int32 }
	shmtest.Must(shm.NewRawValue(s, "int", int32(1)))(t)
	shmtest.Must(shm.NewRawArray[int32](s, "array", 8))(t)
	shmtest.Must(shm.NewRawStruct(s, "point", point{}))(t)
	shmtest.Must(shm.NewCharArray(s, "chars", 8))(t)
	shmtest.Must(shm.NewAtomic(s, "atomic", int32(1)))(t)
	shmtest.Must(shm.NewValue(s, "locked", int32(1)))(t)
	shmtest.Must(shm.NewMutex(s, "mutex"))(t)
	for _, c := range []struct {
		name  string
		err   error
		words string
	}{
		{"int", shmtest.Error(shm.NewRawValue(s, "int", uint32(0))), "is a RawValue[int32] made by"},
		{"int", shmtest.Error(shm.NewRawValue(s, "int", int64(0))), "wanted a RawValue[int64]"},
		{"int", shmtest.Error(shm.NewRawValue(s, "int", float32(0))), "RawValue[float32]"},
		{"int", shmtest.Error(shm.NewRawArray[int32](s, "int", 1)), "wanted a RawArray[int32] of 1 element"},
		{"int", shmtest.Error(shm.NewRawArray[int32](s, "int", 0)), "wanted a RawArray[int32] of any length"},
		{"int", shmtest.Error(shm.NewTable[point](s, "int", 3)), "wanted a Table[struct{...}] of 3 rows"},
		{"int", shmtest.Error(shm.NewHistogram(s, "int", nil)), "wanted a Histogram of any bounds"},
		{"int", shmtest.Error(shm.NewAtomic(s, "int", int32(0))), "wanted an Atomic[int32]"},
		{"int", shmtest.Error(shm.NewValue(s, "int", int32(0))), "wanted a Value[int32]"},
		{"int", shmtest.Error(shm.NewMutex(s, "int")), "wanted a Mutex"},
		{"int", shmtest.Error(shm.NewCharArray(s, "int", 4)), "wanted a CharArray of 4 bytes"},
		{"array", shmtest.Error(shm.NewRawArray[int32](s, "array", 9)), "wanted a RawArray[int32] of 9 elements"},
		{"array", shmtest.Error(shm.NewRawArray[int32](s, "array", 7)), "is a RawArray[int32] of 8 elements"},
		{"array", shmtest.Error(shm.NewRawValue(s, "array", int32(0))), "is a RawArray[int32] of 8 elements"},
		{"array", shmtest.Error(shm.NewRawStruct(s, "array", [8]int32{})), "wanted a RawStruct[[8]int32]:"},
		{"point", shmtest.Error(shm.NewRawStruct(s, "point", renamed{})), `field "Y"`},
		{"point", shmtest.Error(shm.NewRawStruct(s, "point", struct{ X, Y int64 }{})), "want int64"},
		{"point", shmtest.Error(shm.NewRawStruct(s, "point", struct{ Y, X int32 }{})), "at 4"},
		{"point", shmtest.Error(shm.NewRawStruct(s, "point", struct{ X, Y, Z int32 }{})), `field "Z"`},
		{"point", shmtest.Error(shm.NewRawStruct(s, "point", [2]int32{})), "RawStruct[[2]int32]"},
		{"chars", shmtest.Error(shm.NewCharArray(s, "chars", 9)), "wanted a CharArray of 9 bytes"},
		{"chars", shmtest.Error(shm.NewRawArray[uint8](s, "chars", 8)), "wanted a RawArray[uint8] of 8 elements"},
		{"chars", shmtest.Error(shm.NewRawArray[int8](s, "chars", 0)), "wanted a RawArray[int8] of any length"},
		{"atomic", shmtest.Error(shm.NewRawValue(s, "atomic", int32(0))), "is an Atomic[int32]"},
		{"locked", shmtest.Error(shm.NewAtomic(s, "locked", int32(0))), "is a Value[int32]"},
		{"locked", shmtest.Error(shm.NewRawValue(s, "locked", int32(0))), "is a Value[int32]"},
		{"mutex", shmtest.Error(shm.NewValue(s, "mutex", int32(0))), "is a Mutex"},
		{"mutex", shmtest.Error(shm.NewString(s, "mutex", 0)), "wanted a String of any length"},
	} {
		var mismatch *shm.LayoutError
		if !errors.As(c.err, &mismatch) {
			t.Errorf("%s: %v, want a *LayoutError", c.name, c.err)
			continue
		}
		if mismatch.Name != c.name || mismatch.Pid != os.Getpid() || mismatch.Program != sys.Program() || !strings.Contains(c.err.Error(), c.words) {
			t.Errorf("%+v: %v does not say %q", mismatch, c.err, c.words)
		}
	}
	// Nothing was changed. Constructors that fit still attach.
	shmtest.Must(shm.NewRawArray[int32](s, "array", 0))(t)
	shmtest.Must(shm.NewRawArray[int32](s, "array", 8))(t)
	shmtest.Must(shm.NewCharArray(s, "chars", 0))(t)
	if n := len(slices.Collect(s.Entries())); n != 7 {
		t.Errorf("%d values", n)
	}
}

// namesake makes a value "v", a struct of its own type.
var namesake = shmtest.Helper("namesake", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	type Point struct{ X, Y int32 }
	if _, err := shm.NewRawStruct(s, "v", Point{1, 2}); err != nil {
		return err
	}
	fmt.Println(os.Getpid())
	return nil
})

func TestLayoutErrorNamesTheMaker(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	p := shmtest.Start(t, namesake, name)
	pid := p.Line()
	p.Wait()
	_, err := shm.NewRawStruct(s, "v", struct{ X, Z int32 }{})
	var mismatch *shm.LayoutError
	if !errors.As(err, &mismatch) || fmt.Sprint(mismatch.Pid) != pid || mismatch.Program != sys.Program() {
		t.Fatalf("%+v; its maker was %s", mismatch, pid)
	}
	want := shmtest.Must(shm.LayoutOf[struct{ X, Z int32 }]())(t)
	have := shmtest.Must(shm.LayoutOf[struct{ X, Y int32 }]())(t)
	if !mismatch.Have.Equal(have) || !mismatch.Want.Equal(want) || mismatch.HaveAccess != shm.AccessRaw || mismatch.WantAccess != shm.AccessRaw {
		t.Fatalf("%+v", mismatch)
	}
}

func TestGoroutinesMakeOneValue(t *testing.T) {
	const goroutines, names = 16, 200
	name := shmtest.Name(t)
	segments := []*shm.Segment{open(t, name, nil), open(t, name, nil)}
	var wg sync.WaitGroup
	var made [names]sync.Map
	for g := range goroutines {
		wg.Go(func() {
			for i := range names {
				v, err := shm.NewValue(segments[g%2], fmt.Sprint(i), int32(g+1))
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
