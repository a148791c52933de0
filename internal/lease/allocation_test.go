//go:build linux

package lease

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// The allocation lock excludes goroutines of one mapping, mappings of one process
// and processes.
func TestAllocationLockExcludes(t *testing.T) {
	const processes, goroutines, each = 2, 2, 300
	s := memtest.New(t)
	var all []*shmtest.Process
	for range processes {
		p, _ := startHolder(t, s)
		p.Say(fmt.Sprint("count ", each))
		all = append(all, p)
	}
	shared, own := newOwner(s), newOwner(s) // two mappings of the file in this process
	own.ShareAllocation(shared.allocation)
	var wg sync.WaitGroup
	for range goroutines {
		for _, o := range []*Owner{shared, own} {
			wg.Go(func() {
				if err := count(s, o, each); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	for _, p := range all {
		p.Expect("count done")
	}
	cell, _ := s.Cell(0)
	if got, want := int(cell.Extent.Load()), (processes+2*goroutines)*each; got != want {
		t.Errorf("%d additions counted %d", want, got)
	}
}

// Whoever wants the allocation lock waits for a process that lives, and gets the
// lock of one that was killed.
func TestAllocationLockOfAnotherProcess(t *testing.T) {
	s := memtest.New(t)
	o := newOwner(s)
	for _, dies := range []bool{false, true} {
		p, _ := startHolder(t, s)
		p.Do("lock", "lock done")
		var free atomic.Bool
		got := make(chan error)
		go func() {
			unlock, err := o.LockAllocation(s.File)
			if err == nil {
				unlock()
				if !free.Load() {
					err = errors.New("it did not wait")
				}
			}
			got <- err
		}()
		shmtest.Eventually(t, "it waits", func() bool { return !o.allocation.TryLock() || unlockNow(o.allocation) })
		free.Store(true)
		if dies {
			p.Kill()
		} else {
			p.Do("unlock", "unlock done")
		}
		if err := <-got; err != nil {
			t.Errorf("the holder dies: %v; %v", dies, err)
		}
		p.Kill()
	}
}

// unlockNow unlocks a mutex and returns false.
func unlockNow(mu *sync.Mutex) bool { mu.Unlock(); return false }

// An allocation lock that cannot be had is an error, and leaves nothing locked.
func TestAllocationLockThatFails(t *testing.T) {
	shmtest.NeedLinux(t, "locks on the bytes of a segment")
	s := memtest.New(t)
	o := newOwner(s)
	if _, err := o.LockAllocation(closed(t)); !shmtest.IsPathError(err, s.Path) || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("of a closed file: %v", err)
	}
	if !o.allocation.TryLock() {
		t.Fatal("after an error the mutex of the process is locked")
	}
	o.allocation.Unlock()
	unlock, err := o.LockAllocation(s.File)
	if err != nil {
		t.Fatal(err)
	}
	other := shmtest.Opened(sys.Reopen(s.File, s.Path))(t)
	if got, err := sys.TryLock(other, format.AllocationByte); got || err != nil {
		t.Errorf("the byte is not locked: %v", err)
	}
	unlock()
	if got, err := sys.TryLock(other, format.AllocationByte); !got || err != nil {
		t.Errorf("the byte is locked after the unlock: %v", err)
	}
	if !o.allocation.TryLock() {
		t.Error("the mutex of the process is locked after the unlock")
	}
}

// poor is a process that can open no more file: it says what becomes of the lock.
var poor = shmtest.Helper("poor", func(args []string) error {
	s := memtest.Open(shmtest.InHelper, args[0], false)
	o := newOwner(s)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		return err
	}
	none := old
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		return err
	}
	_, err := o.LockAllocation(s.File)
	fmt.Println(sys.OutOfDescriptors(err), o.allocation.TryLock())
	o.allocation.Unlock()
	err = o.Take(s.File)
	fmt.Println(sys.OutOfDescriptors(err), o.ID())
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		return err
	}
	unlock, err := o.LockAllocation(s.File)
	if err == nil {
		unlock()
		err = o.Take(s.File)
	}
	fmt.Println(err, o.ID())
	return nil
})

// A process that has no descriptor left for now is told so, and goes on later.
func TestNoDescriptorForTheControl(t *testing.T) {
	shmtest.NeedLinux(t, "locks on the bytes of a segment")
	s := memtest.New(t)
	p := shmtest.Start(t, poor, s.Path)
	p.Expect("true true")
	p.Expect("true 0")
	p.Expect("<nil> 1")
	p.Wait()
}

// poorer is a process that may not open the segment, of which it has inherited
// descriptor 3.
var poorer = shmtest.Helper("poorer", func(args []string) error {
	f := os.NewFile(3, args[0])
	b, err := mem.Map(f, args[0], memtest.MaxSize, format.FirstAllocation, false)
	if err != nil {
		return err
	}
	s := &memtest.Segment{Region: mem.Region{Bytes: b, Path: args[0]}, File: f}
	s.Header = mem.At[format.Header](&s.Region, 0)
	o := newOwner(s)
	says := func(err error) bool {
		return errors.Is(err, fs.ErrPermission) && strings.Contains(fmt.Sprint(err), "hand the segment over with Pass")
	}
	fmt.Println(says(o.Take(f)), o.ID())
	_, err = o.LockAllocation(f)
	fmt.Println(says(err), o.allocation.TryLock())
	o.allocation.Unlock()
	_, ok, err := o.LockAllocationWithin(f, time.Minute)
	fmt.Println(says(err), ok, o.allocation.TryLock())
	return nil
})

// A process that can never open the file anew has neither a lease nor the allocation
// lock: a lock of the description that it shares with others would not exclude them,
// and the next close of the file would drop a lock of the process.
func TestControlThatCannotBeOpened(t *testing.T) {
	shmtest.NeedLinux(t, "locks on the bytes of a segment")
	asNobody := shmtest.AsNobody(t)
	s := memtest.New(t)
	p := shmtest.StartCmd(t, poorer, func(cmd *exec.Cmd) {
		cmd.ExtraFiles = []*os.File{s.File}
		asNobody(cmd)
	}, s.Path)
	p.Expect("true 0")
	p.Expect("true true")
	p.Expect("true false true")
	p.Wait()
	if n := next(t, s); n != 1 {
		t.Errorf("the next id is %d", n)
	}
}

// Whoever waits for a while only gets the lock, an error, or neither.
func TestAllocationLockWithin(t *testing.T) {
	shmtest.NeedLinux(t, "locks on the bytes of a segment")
	s := memtest.New(t)
	o, other := newOwner(s), newOwner(s)
	take := func(what string, want bool) {
		t.Helper()
		unlock, ok, err := o.LockAllocationWithin(s.File, 30*time.Millisecond)
		if ok != want || err != nil || (unlock != nil) != want {
			t.Errorf("%s: %v, %v", what, ok, err)
		}
		if ok {
			unlock()
		}
		if !o.allocation.TryLock() {
			t.Fatalf("%s: the mutex of the process is locked", what)
		}
		o.allocation.Unlock()
	}
	take("nobody has it", true)
	unlock, err := other.LockAllocation(s.File)
	if err != nil {
		t.Fatal(err)
	}
	take("another process has it", false)
	unlock()
	take("the other has released it", true)

	reader := shmtest.Opened(os.Open(s.Path))(t)
	share(t, reader, format.AllocationByte, 1)
	take("a reader keeps it", false)
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	take("the reader has gone", true)

	o.allocation.Lock()
	if _, ok, err := o.LockAllocationWithin(s.File, 10*time.Millisecond); ok || err != nil {
		t.Errorf("another mapping of this process has it: %v, %v", ok, err)
	}
	time.AfterFunc(20*time.Millisecond, o.allocation.Unlock)
	unlock, ok, err := o.LockAllocationWithin(s.File, time.Minute)
	if !ok {
		t.Fatalf("it did not wait: %v", err)
	}
	unlock()
	if _, ok, err := o.LockAllocationWithin(closed(t), time.Minute); ok || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("of a closed file: %v, %v", ok, err)
	}
}
