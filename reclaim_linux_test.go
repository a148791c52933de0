package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// descriptors and mappings count what this process has open of a file. They go
// by its number: in /proc a file that was made without a name keeps that.
func descriptors(t *testing.T, ino uint64) (n int) {
	t.Helper()
	for _, e := range must(os.ReadDir("/proc/self/fd"))(t) {
		var st syscall.Stat_t
		if syscall.Stat("/proc/self/fd/"+e.Name(), &st) == nil && st.Ino == ino {
			n++
		}
	}
	return n
}

func mappings(t *testing.T, ino uint64) (n int) {
	t.Helper()
	for line := range strings.Lines(string(must(os.ReadFile("/proc/self/maps"))(t))) {
		if words := strings.Fields(line); len(words) > 5 && words[4] == fmt.Sprint(ino) && strings.HasPrefix(words[5], filepath.Dir(Path("x"))) {
			n++
		}
	}
	return n
}

func TestClosedSegmentsAreGivenBack(t *testing.T) {
	var inodes []uint64
	open, mapped := 0, 0
	for i := range 50 {
		name := testName(t)
		s := must(Open(name, nil))(t)
		inodes = append(inodes, must(inodeOf(s))(t))
		v := must(NewValue(s, "n", int64(0)))(t)
		v.Add(1)
		must(NewRawArray[byte](s, "array", 1<<20))(t).Set(0, 1)
		if i%2 == 0 { // in both modes
			ro := must(Open(name, &Options{ReadOnly: true}))(t)
			must(NewValue(ro, "n", int64(0)))(t).Load()
			if err := ro.Close(); err != nil {
				t.Fatal(err)
			}
		}
		open += descriptors(t, inodes[i])
		mapped += mappings(t, inodes[i])
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if open < 2*50 || mapped < 50 {
		t.Fatalf("%d descriptors and %d mappings are seen while they are open", open, mapped)
	}
	eventually(t, "all is unmapped and closed", func() bool {
		runtime.GC()
		open, mapped = 0, 0
		for _, ino := range inodes {
			open += descriptors(t, ino)
			mapped += mappings(t, ino)
		}
		return open == 0 && mapped == 0
	})
}

func TestFailedOpensAreGivenBack(t *testing.T) {
	name := testName(t)
	lay(t, Path(name), []byte("no segment"))
	ino := must(os.Stat(Path(name)))(t).Sys().(*syscall.Stat_t).Ino
	for range 50 {
		if _, err := Open(name, nil); !errors.Is(err, ErrFormat) {
			t.Fatal(err)
		}
		if _, err := Open(name, &Options{Exclusive: true}); !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	if n := descriptors(t, ino); n != 0 {
		t.Fatalf("%d descriptors are left", n)
	}
}

func TestHandlesKeepAClosedSegmentMapped(t *testing.T) {
	name := testName(t)
	s := must(Open(name, nil))(t)
	v := must(NewRawValue(s, "n", int64(1)))(t)
	ino := must(inodeOf(s))(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		runtime.GC()
	}
	if mappings(t, ino) != 1 {
		t.Fatal("it is not mapped, though a handle is left")
	}
	v.Set(2)
	eventually(t, "the last handle is gone", func() bool {
		runtime.GC()
		return mappings(t, ino) == 0
	})
}

// TestDroppedSegmentStaysMapped: without a Close what Ptr returned stays valid,
// though nothing else refers to the segment.
func TestDroppedSegmentStaysMapped(t *testing.T) {
	name := testName(t)
	p, ino := func() (*int64, uint64) {
		s := must(Open(name, nil))(t)
		return must(NewRawValue(s, "n", int64(1)))(t).Ptr(), must(inodeOf(s))(t)
	}()
	eventually(t, "the Segment is gone, and of two descriptors the mapping's own is left", func() bool {
		runtime.GC()
		return descriptors(t, ino) == 1
	})
	if *p++; mappings(t, ino) != 1 || *p != 2 {
		t.Fatalf("%d mappings, %d", mappings(t, ino), *p)
	}
}

// spender opens and closes many segments under tight limits, and with a
// collector that never runs by itself.
var spender = helper("spender", func(args []string) error {
	debug.SetGCPercent(-1)
	spend := func(n int) error {
		for i := range n {
			s, err := Anonymous(nil)
			if err != nil {
				return fmt.Errorf("segment %d: %w", i, err)
			}
			if _, err := NewValue(s, "n", int64(i)); err != nil {
				return fmt.Errorf("segment %d: %w", i, err)
			}
			if n := len(s.m.Load().mem); int64(n) < defaultMaxSize() {
				return fmt.Errorf("segment %d can grow to %d bytes", i, n)
			}
			if err := s.Close(); err != nil {
				return err
			}
		}
		return nil
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 64, Max: 64}); err != nil {
		return err
	}
	if err := spend(300); err != nil || raceEnabled {
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
	start(t, spender).wait()
}
