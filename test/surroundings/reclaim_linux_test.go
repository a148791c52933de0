package surroundings_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
	"golang.org/x/sys/unix"
)

func inodeOf(t *testing.T, s *shm.Segment) uint64 {
	t.Helper()
	return shmtest.Must(shmtest.Inode(s.File()))(t)
}

func TestClosedSegmentsAreGivenBack(t *testing.T) {
	var inodes []uint64
	open, mapped := 0, 0
	count := func(inode uint64) {
		n, _ := mappings(t, inode)
		open += descriptors(t, inode)
		mapped += n
	}
	for i := range 50 {
		name := shmtest.Name(t)
		s := shmtest.Must(shm.Open(name, nil))(t)
		inodes = append(inodes, inodeOf(t, s))
		v := shmtest.Must(shm.NewValue(s, "n", int64(0)))(t)
		v.Add(1)
		shmtest.Must(shm.NewRawArray[byte](s, "array", 1<<20))(t).Set(0, 1)
		if i%2 == 0 { // in both modes
			ro := shmtest.Must(shm.Open(name, &shm.Options{ReadOnly: true}))(t)
			shmtest.Must(shm.NewValue(ro, "n", int64(0)))(t).Load()
			if err := ro.Close(); err != nil {
				t.Fatal(err)
			}
		}
		count(inodes[i])
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if open < 2*50 || mapped < 50 {
		t.Fatalf("%d descriptors and %d mappings are seen while they are open", open, mapped)
	}
	shmtest.Eventually(t, "all is unmapped and closed", func() bool {
		runtime.GC()
		open, mapped = 0, 0
		for _, inode := range inodes {
			count(inode)
		}
		return open == 0 && mapped == 0
	})
}

func TestFailedOpensAreGivenBack(t *testing.T) {
	name := shmtest.Name(t)
	shmtest.WriteFile(t, shm.Path(name), []byte("no segment"))
	f := shmtest.Must(os.Open(shm.Path(name)))(t)
	inode := shmtest.Must(shmtest.Inode(f))(t)
	f.Close()
	for range 50 {
		if _, err := shm.Open(name, nil); !errors.Is(err, shm.ErrFormat) {
			t.Fatal(err)
		}
		if _, err := shm.Open(name, &shm.Options{Exclusive: true}); !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	if n := descriptors(t, inode); n != 0 {
		t.Fatalf("%d descriptors are left", n)
	}
}

func TestHandlesKeepAClosedSegmentMapped(t *testing.T) {
	s := shmtest.Must(shm.Open(shmtest.Name(t), nil))(t)
	v := shmtest.Must(shm.NewRawValue(s, "n", int64(1)))(t)
	inode := inodeOf(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		runtime.GC()
	}
	if n, _ := mappings(t, inode); n != 1 {
		t.Fatal("it is not mapped, though a handle is left")
	}
	v.Set(2)
	shmtest.Eventually(t, "the last handle is gone", func() bool {
		runtime.GC()
		n, _ := mappings(t, inode)
		return n == 0
	})
}

// Without a Close, what Ptr has returned stays valid, even if nothing else refers
// to the segment.
func TestDroppedSegmentStaysMapped(t *testing.T) {
	name := shmtest.Name(t)
	p, inode := func() (*int64, uint64) {
		s := shmtest.Must(shm.Open(name, nil))(t)
		return shmtest.Must(shm.NewRawValue(s, "n", int64(1)))(t).Ptr(), inodeOf(t, s)
	}()
	shmtest.Eventually(t, "the Segment is gone, and of two descriptors the mapping's own is left", func() bool {
		runtime.GC()
		return descriptors(t, inode) == 1
	})
	*p++
	if n, _ := mappings(t, inode); n != 1 || *p != 2 {
		t.Fatalf("%d mappings, %d", n, *p)
	}
}

// spender opens and closes many segments under tight limits, with a garbage
// collector that never runs by itself.
var spender = shmtest.Helper("spender", func(args []string) error {
	debug.SetGCPercent(-1)
	spend := func(n int) error {
		for i := range n {
			s, err := shm.Anonymous(nil)
			if err != nil {
				return fmt.Errorf("segment %d: %w", i, err)
			}
			if _, err := shm.NewValue(s, "n", int64(i)); err != nil {
				return fmt.Errorf("segment %d: %w", i, err)
			}
			if n := reserved(shmtest.InHelper, s); n < defaultMaxSize() {
				return fmt.Errorf("segment %d can grow to %d bytes", i, n)
			}
			if err := s.Close(); err != nil {
				return err
			}
		}
		return nil
	}
	if err := spend(1); err != nil { // It also opens what reserved reads.
		return err
	}
	var descriptors unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &descriptors); err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 64, Max: descriptors.Max}); err != nil {
		return err
	}
	if err := spend(300); err != nil || race.Enabled {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &descriptors); err != nil {
		return err
	}
	used, err := addressSpace()
	if err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: used + 11*uint64(defaultMaxSize())/2, Max: unix.RLIM_INFINITY}); err != nil {
		return err
	}
	return spend(50)
})

func TestClosedSegmentsAreGivenBackWhenNeeded(t *testing.T) {
	shmtest.Start(t, spender).Wait()
}
