package shm

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
)

// TestGrowth grows a segment in one process and looks at it in another that
// attached when it was small.
func TestGrowth(t *testing.T) {
	name := testName(t)
	s := open(t, name, nil)
	first := must(NewRawValue(s, "value/000000", int64(0)))(t)
	address := first.Ptr()
	p := start(t, reader, name, "rw")
	p.say("1")
	p.expect("read")
	before := s.Size()
	for i := range 20 {
		a := must(NewRawArray[uint64](s, fmt.Sprintf("array %d", i), 1<<(10+i%8)))(t)
		for j, x := range a.All() {
			if x != 0 {
				t.Fatalf("array %d[%d] starts as %d", i, j, x)
			}
			a.Set(j, ^uint64(0))
		}
		nameValues(t, s, i*100, i*100+100)
	}
	p.say("2000")
	p.expect("read")
	if s.Size() < before+2<<20 {
		t.Fatalf("%d bytes, %d before", s.Size(), before)
	}
	if again := must(NewRawValue(s, "value/000000", int64(0)))(t); again.Ptr() != address {
		t.Fatalf("the first value has moved from %p to %p", address, again.Ptr())
	}
}

func TestLargeArray(t *testing.T) {
	name := testName(t)
	s := open(t, name, &Options{MaxSize: 256 << 20})
	a, err := NewRawArray[float64](s, "large", 100<<20/8)
	if errors.Is(err, syscall.ENOSPC) {
		t.Skip("not enough shared memory here")
	}
	if err != nil {
		t.Fatal(err)
	}
	a.Set(a.Len()-1, 1)
	var st syscall.Stat_t
	if err := syscall.Stat(Path(name), &st); err != nil || st.Blocks*512 < 100<<20 {
		t.Fatalf("%d blocks are reserved: %v", st.Blocks, err)
	}
	if _, err := NewRawArray[float64](s, "too large", 200<<20/8); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	must(NewRawArray[float64](s, "small", 10))(t)
}

// grower adds arrays of its own as fast as it can, checks that they start as
// zeros, and fills them.
var grower = helper("grower", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	for i := range 200 {
		a, err := NewRawArray[uint32](s, fmt.Sprintf("%s-%d", args[1], i), 1+rand.IntN(8000))
		if err != nil {
			return err
		}
		for j, x := range a.All() {
			if x != 0 {
				return fmt.Errorf("array %d[%d] starts as %#x", i, j, x)
			}
			a.Set(j, uint32(os.Getpid()))
		}
		for j, x := range a.All() {
			if x != uint32(os.Getpid()) {
				return fmt.Errorf("array %d[%d] became %#x", i, j, x)
			}
		}
	}
	return nil
})

func TestProcessesGrowASegmentTogether(t *testing.T) {
	name := testName(t)
	s := open(t, name, nil)
	var all []*process
	for i := range 6 {
		all = append(all, start(t, grower, name, fmt.Sprint(i)))
	}
	for _, p := range all {
		p.wait()
	}
	if n := len(slices.Collect(s.Entries())); n != 6*200 {
		t.Fatalf("%d arrays", n)
	}
}

// crasher dies as an allocator may: in the middle of an array of 4 MiB, of
// which it wrote a part and published nothing.
var crasher = helper("crasher", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	m := s.m.Load()
	if _, err := m.lockAllocation(s.file); err != nil {
		return err
	}
	const size = 4 << 20
	off := m.dir.seen
	if err := m.grow(s.file, off+size); err != nil {
		return err
	}
	m.dirty.storeBytes(off + size)
	for i, garbage := range [][]byte{[]byte("record"), []byte("data")} {
		copy(sliceAt[byte](m, off+int64(i)*size/2, size/2), strings.Repeat(string(garbage), size/8))
	}
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
})

func TestDeadAllocatorLeavesNothing(t *testing.T) {
	name := testName(t)
	// Attached while it is small: what the dead one wrote lies beyond the end
	// that this process knows of.
	s := open(t, name, nil)
	nameValues(t, s, 0, 3)
	p := start(t, crasher, name)
	if err := p.cmd.Wait(); err == nil {
		t.Fatal("it lives")
	}
	if dirty, _ := s.m.Load().dirty.bytes(); dirty < 4<<20 {
		t.Fatalf("nothing is dirty: %d", dirty)
	}
	small := must(NewRawArray[byte](s, "small", 1000))(t)
	large := must(NewRawArray[byte](s, "large", 8<<20))(t)
	for _, a := range []RawArray[byte]{small, large} {
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

// TestFailedCallsLeaveNothing: after an error the name is free, and what is
// reserved is what was.
func TestFailedCallsLeaveNothing(t *testing.T) {
	s := open(t, testName(t), &Options{MaxSize: 1 << 20})
	before := s.Size()
	if _, err := NewRawArray[byte](s, "v", 2<<20); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	var typ *TypeError
	if _, err := NewRawStruct(s, "v", struct{ P *int }{}); !errors.As(err, &typ) {
		t.Fatal(err)
	}
	if s.Size() != before {
		t.Fatalf("%d bytes, %d before", s.Size(), before)
	}
	if _, ok := s.Lookup("v"); ok {
		t.Fatal("it is there")
	}
	must(NewRawArray[byte](s, "v", 1))(t)
	runtime.KeepAlive(s)
}

// fillSegment makes and writes arrays of 100 numbers until it fails, then checks
// all of them.
func fillSegment(s *Segment, prefix string) (n int, failed error) {
	var all []RawArray[uint64]
	for {
		a, err := NewRawArray[uint64](s, fmt.Sprint(prefix, n), 100)
		if err != nil {
			failed = err
			break
		}
		for i := range a.Len() {
			a.Set(i, uint64(n))
		}
		all = append(all, a)
		n++
	}
	for i, a := range all {
		for _, x := range a.All() {
			if x != uint64(i) {
				return n, fmt.Errorf("array %d has a %d", i, x)
			}
		}
	}
	return n, failed
}

func TestMaxSize(t *testing.T) {
	name := testName(t)
	tiny := open(t, name, &Options{MaxSize: 1})
	n, err := fillSegment(tiny, "v")
	if n < 10 || !errors.Is(err, ErrFull) {
		t.Fatalf("%d arrays, then %v", n, err)
	}
	if tiny.Size() > firstAllocation {
		t.Fatalf("%d bytes allocated", tiny.Size())
	}
	must(NewRawArray[uint64](tiny, "v0", 100))(t).Set(0, 1)
	// What the creator reserved is what others get.
	other := start(t, filler, name, "w")
	if got := other.line(); !strings.Contains(got, ErrFull.Error()) {
		t.Fatal(got)
	}
	other.wait()

	odd := open(t, testName(t), &Options{MaxSize: 1<<20 + 1})
	if n, err := fillSegment(odd, "v"); n < 900 || !errors.Is(err, ErrFull) || odd.Size() > 1<<20+pageSize {
		t.Fatalf("%d arrays, %d bytes, then %v", n, odd.Size(), err)
	}
}

// filler adds arrays until it fails, and says why.
var filler = helper("filler", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	_, err = fillSegment(s, args[1])
	fmt.Println(strings.ReplaceAll(err.Error(), "\n", " "))
	return nil
})
