package surroundings_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"example.org/shm/test/agent"
)

func valueName(i int) string { return fmt.Sprintf("value/%06d", i) }

// nameValues makes the values from one number up to another.
func nameValues(t *testing.T, s *shm.Segment, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if v, err := shm.NewRawValue(s, valueName(i), int64(i)); err != nil || v.Get() != int64(i) {
			t.Fatalf("value %d: %v, %v", i, v, err)
		}
	}
}

// finder attaches to a segment once. For each number that it is told, it looks at the
// values up to that number which it has not seen yet.
var finder = shmtest.Helper("finder", func(args []string) error {
	s, err := shm.Open(args[0], nil)
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
			name := valueName(from + i)
			v, err := shm.NewRawValue(s, name, int64(-1))
			if err != nil {
				return "", err
			}
			if v.Get() != int64(from+i) {
				return "", fmt.Errorf("%s is %d", name, v.Get())
			}
		}
		from = n
		return "found", nil
	})
})

// One process makes a segment grow. Another attached when the segment was small,
// and finds what is new.
func TestGrowth(t *testing.T) {
	name := shmtest.Name(t)
	s := shmtest.Opened(shm.Open(name, nil))(t)
	first := shmtest.Must(shm.NewRawValue(s, valueName(0), int64(0)))(t)
	address := first.Ptr()
	p := shmtest.Start(t, finder, name)
	p.Do("1", "found")
	before := s.Size()
	for i := range 20 {
		a := shmtest.Must(shm.NewRawArray[uint64](s, fmt.Sprintf("array %d", i), 1<<(10+i%8)))(t)
		for j, x := range a.All() {
			if x != 0 {
				t.Fatalf("array %d[%d] starts as %d", i, j, x)
			}
			a.Set(j, ^uint64(0))
		}
		nameValues(t, s, i*100, i*100+100)
	}
	p.Do("2000", "found")
	if s.Size() < before+2<<20 {
		t.Fatalf("%d bytes, %d before", s.Size(), before)
	}
	if again := shmtest.Must(shm.NewRawValue(s, valueName(0), int64(0)))(t); again.Ptr() != address {
		t.Fatalf("the first value has moved from %p to %p", address, again.Ptr())
	}
}

func TestLargeArray(t *testing.T) {
	name := shmtest.Name(t)
	s := shmtest.Opened(shm.Open(name, &shm.Options{MaxSize: 256 << 20}))(t)
	a, err := shm.NewRawArray[float64](s, "large", 100<<20/8)
	if errors.Is(err, syscall.ENOSPC) {
		t.Skip("not enough shared memory here")
	}
	if err != nil {
		t.Fatal(err)
	}
	a.Set(a.Len()-1, 1)
	var st syscall.Stat_t
	if err := syscall.Stat(shm.Path(name), &st); err != nil || st.Blocks*512 < 100<<20 {
		t.Fatalf("%d blocks are reserved: %v", st.Blocks, err)
	}
	if _, err := shm.NewRawArray[float64](s, "too large", 200<<20/8); !errors.Is(err, shm.ErrFull) {
		t.Fatal(err)
	}
	shmtest.Must(shm.NewRawArray[float64](s, "small", 10))(t)
}

// grower adds arrays of its own as fast as it can. It checks that they start as
// zeros, and fills them.
var grower = shmtest.Helper("grower", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	me := uint32(os.Getpid())
	for i := range 200 {
		a, err := shm.NewRawArray[uint32](s, fmt.Sprintf("%s-%d", args[1], i), 1+rand.IntN(8000))
		if err != nil {
			return err
		}
		for j, x := range a.All() {
			if x != 0 {
				return fmt.Errorf("array %d[%d] starts as %#x", i, j, x)
			}
			a.Set(j, me)
		}
		for j, x := range a.All() {
			if x != me {
				return fmt.Errorf("array %d[%d] became %#x", i, j, x)
			}
		}
	}
	return nil
})

func TestProcessesGrowASegmentTogether(t *testing.T) {
	name := shmtest.Name(t)
	s := shmtest.Opened(shm.Open(name, nil))(t)
	var all []*shmtest.Process
	for i := range 6 {
		all = append(all, shmtest.Start(t, grower, name, fmt.Sprint(i)))
	}
	for _, p := range all {
		p.Wait()
	}
	if n := len(slices.Collect(s.Entries())); n != 6*200 {
		t.Fatalf("%d arrays", n)
	}
}

// crasher dies in the middle of adding an array of 4 MiB: it holds the allocation
// lock, has written a part, and has published nothing.
var crasher = shmtest.Helper("crasher", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	f, err := sys.Reopen(s.File(), shm.Path(s.Name()))
	if err != nil {
		return err
	}
	if err := sys.WaitLock(f, format.AllocationByte); err != nil {
		return err
	}
	const size = 4 << 20
	h := agent.Header(shmtest.InHelper, s)
	off, ok1 := h.Used.Bytes()
	allocated, ok2 := h.Allocated.Bytes()
	if !ok1 || !ok2 {
		return errors.New("the header is damaged")
	}
	if err := sys.Reserve(f, s.Name(), allocated, off+size); err != nil {
		return err
	}
	h.Allocated.StoreBytes(off + size)
	h.Dirty.StoreBytes(off + size)
	region := agent.Map(shmtest.InHelper, s) // as it is now
	for i, garbage := range []string{"record", "data"} {
		copy(mem.Slice[byte](region, off+int64(i)*size/2, size/2), strings.Repeat(garbage, size/8))
	}
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
})

func TestDeadAllocatorLeavesNothing(t *testing.T) {
	name := shmtest.Name(t)
	// This attaches while the segment is small: what the dead process has written is
	// behind the end that this process knows of.
	s := shmtest.Opened(shm.Open(name, nil))(t)
	nameValues(t, s, 0, 3)
	p := shmtest.Start(t, crasher, name)
	if err := p.End(); err == nil || err.Error() != "signal: killed" {
		t.Fatalf("it ended otherwise: %v", err)
	}
	if dirty, ok := agent.Header(t, s).Dirty.Bytes(); !ok || dirty < 4<<20 {
		t.Fatalf("nothing is dirty: %d", dirty)
	}
	small := shmtest.Must(shm.NewRawArray[byte](s, "small", 1000))(t)
	large := shmtest.Must(shm.NewRawArray[byte](s, "large", 8<<20))(t)
	for _, a := range []shm.RawArray[byte]{small, large} {
		for i, x := range a.All() {
			if x != 0 {
				t.Fatalf("byte %d of %d starts as %#x", i, a.Len(), x)
			}
		}
	}
	if n := len(slices.Collect(s.Entries())); n != 5 {
		t.Fatalf("%d values", n)
	}
}

// After an error the name is free, and no more is reserved than before.
func TestFailedCallsLeaveNothing(t *testing.T) {
	s := shmtest.Opened(shm.Open(shmtest.Name(t), &shm.Options{MaxSize: 1 << 20}))(t)
	before := s.Size()
	if _, err := shm.NewRawArray[byte](s, "v", 2<<20); !errors.Is(err, shm.ErrFull) {
		t.Fatal(err)
	}
	var typ *shm.TypeError
	if _, err := shm.NewRawStruct(s, "v", struct{ P *int }{}); !errors.As(err, &typ) {
		t.Fatal(err)
	}
	if s.Size() != before {
		t.Fatalf("%d bytes, %d before", s.Size(), before)
	}
	if _, ok := s.Lookup("v"); ok {
		t.Fatal("it is there")
	}
	shmtest.Must(shm.NewRawArray[byte](s, "v", 1))(t)
	runtime.KeepAlive(s)
}

func TestMaxSize(t *testing.T) {
	name := shmtest.Name(t)
	tiny := shmtest.Opened(shm.Open(name, &shm.Options{MaxSize: 1}))(t)
	n, err := fillSegment(tiny, "v")
	if n < 10 || !errors.Is(err, shm.ErrFull) {
		t.Fatalf("%d arrays, then %v", n, err)
	}
	if tiny.Size() > format.FirstAllocation {
		t.Fatalf("%d bytes allocated", tiny.Size())
	}
	shmtest.Must(shm.NewRawArray[uint64](tiny, "v0", 100))(t).Set(0, 1)
	// Other processes get what the creator has reserved.
	other := shmtest.Start(t, filler, name, "w")
	if got := other.Line(); !strings.Contains(got, "segment is full") {
		t.Fatal(got)
	}
	other.Wait()

	odd := shmtest.Opened(shm.Open(shmtest.Name(t), &shm.Options{MaxSize: 1<<20 + 1}))(t)
	if n, err := fillSegment(odd, "v"); n < 900 || !errors.Is(err, shm.ErrFull) || odd.Size() > 1<<20+sys.PageSize {
		t.Fatalf("%d arrays, %d bytes, then %v", n, odd.Size(), err)
	}
}

// filler adds arrays until it fails, and says why.
var filler = shmtest.Helper("filler", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	_, err = fillSegment(s, args[1])
	fmt.Println(strings.ReplaceAll(err.Error(), "\n", " "))
	return nil
})
