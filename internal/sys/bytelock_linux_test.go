//go:build linux && !shmportable

package sys_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync/atomic"
	"testing"

	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"golang.org/x/sys/unix"
)

const farByte = 1<<62 + 5 // beyond the end of every file

// holdLock tries to lock a byte of a file, and keeps the lock until it is told to
// unlock, or is killed.
var holdLock = shmtest.Helper("holdLock", func(args []string) error {
	f, err := os.OpenFile(args[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	off, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	got, err := sys.TryLock(f, off)
	fmt.Println(got, err)
	in := bufio.NewScanner(os.Stdin)
	in.Scan()
	sys.Unlock(f, off)
	fmt.Println("unlocked")
	in.Scan()
	return nil
})

// locked asks both ways, which must agree.
func locked(t *testing.T, f *os.File, off int64) bool {
	t.Helper()
	slow := shmtest.Must(sys.Locked(f, off, 1))(t)
	if fast := shmtest.Must(sys.LockedFast(f, off))(t); fast != slow {
		t.Fatalf("byte %d: Locked says %v and LockedFast %v", off, slow, fast)
	}
	return slow
}

func TestByteLockExcludesAnotherProcess(t *testing.T) {
	f := file(t, 1)
	p := shmtest.Start(t, holdLock, f.Name(), fmt.Sprint(int64(farByte)))
	p.Expect("true <nil>")
	if shmtest.Must(sys.TryLock(f, farByte))(t) {
		t.Fatal("two processes have the lock")
	}
	if !locked(t, f, farByte) || locked(t, f, farByte-1) || locked(t, f, farByte+1) || locked(t, f, 0) {
		t.Fatal("another byte than that one is locked")
	}
	for _, c := range []struct {
		off, length int64
		want        bool
	}{{farByte - 10, 10, false}, {farByte - 10, 11, true}, {farByte + 1, 10, false}, {1 << 62, 1 << 30, true}} {
		if got := shmtest.Must(sys.Locked(f, c.off, c.length))(t); got != c.want {
			t.Errorf("%d bytes from %d: %v, want %v", c.length, c.off, got, c.want)
		}
	}
	p.Do("unlock", "unlocked")
	if locked(t, f, farByte) || !shmtest.Must(sys.TryLock(f, farByte))(t) {
		t.Fatal("it is locked after the unlock")
	}
	q := shmtest.Start(t, holdLock, f.Name(), fmt.Sprint(int64(farByte)))
	q.Expect("false <nil>")
}

func TestByteLockOfADeadProcessIsReleased(t *testing.T) {
	f := file(t, 1)
	p := shmtest.Start(t, holdLock, f.Name(), "0")
	p.Expect("true <nil>")
	p.Kill()
	if locked(t, f, 0) || !shmtest.Must(sys.TryLock(f, 0))(t) {
		t.Fatal("it is locked after the death of its holder")
	}
}

func TestByteLockBelongsToADescription(t *testing.T) {
	f := file(t, 1)
	other := shmtest.Opened(sys.Reopen(f, f.Name()))(t)
	same := shmtest.Must(sys.Duplicate(f, false))(t)
	if !shmtest.Must(sys.TryLock(f, 7))(t) || !shmtest.Must(sys.TryLock(same, 7))(t) {
		t.Fatal("a description does not get its own lock")
	}
	if shmtest.Must(sys.TryLock(other, 7))(t) || !locked(t, other, 7) || locked(t, f, 7) {
		t.Fatal("another description of the process is not excluded")
	}
	check(t, same.Close())
	if !locked(t, other, 7) {
		t.Fatal("the close of one descriptor of two has released the lock")
	}
	check(t, f.Close())
	if locked(t, other, 7) {
		t.Fatal("it is locked after the close of the description")
	}
}

func TestWaitLockWaits(t *testing.T) {
	f := file(t, 1)
	other := shmtest.Opened(sys.Reopen(f, f.Name()))(t)
	check(t, sys.WaitLock(f, 0))
	var free atomic.Bool
	early := make(chan bool)
	go func() {
		err := sys.WaitLock(other, 0)
		early <- err != nil || !free.Load()
	}()
	free.Store(true)
	sys.Unlock(f, 0)
	if <-early {
		t.Fatal("it did not wait")
	}
}

// TestReaderCannotFakeALock: whoever may only read the file can take a shared
// lock, which is not what Locked asks for.
func TestReaderCannotFakeALock(t *testing.T) {
	f := file(t, 1)
	reader := shmtest.Opened(os.Open(f.Name()))(t)
	l := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart, Start: farByte, Len: 1}
	check(t, unix.FcntlFlock(reader.Fd(), unix.F_OFD_SETLK, &l))
	if locked(t, f, farByte) {
		t.Fatal("a reader makes a byte look locked")
	}
	if got, err := sys.TryLock(reader, 0); got || err == nil {
		t.Fatalf("a reader has an exclusive lock: %v", err)
	}
}

// TestObstacle: what is in the way of an exclusive lock, a shared lock included.
func TestObstacle(t *testing.T) {
	f := file(t, 1)
	other, reader := shmtest.Opened(sys.Reopen(f, f.Name()))(t), shmtest.Opened(os.Open(f.Name()))(t)
	share := func(typ int16) {
		l := unix.Flock_t{Type: typ, Whence: io.SeekStart, Start: farByte, Len: 1}
		check(t, unix.FcntlFlock(reader.Fd(), unix.F_OFD_SETLK, &l))
	}
	for _, c := range []struct {
		what   string
		change func()
		want   sys.Lock
	}{
		{"nothing", func() {}, sys.NoLock},
		{"a reader's lock", func() { share(unix.F_RDLCK) }, sys.SharedLock},
		{"nothing again", func() { share(unix.F_UNLCK) }, sys.NoLock},
		{"a writer's lock", func() { _ = shmtest.Must(sys.TryLock(other, farByte))(t) }, sys.ExclusiveLock},
	} {
		c.change()
		if got := shmtest.Must(sys.Obstacle(f, farByte))(t); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
		if got := shmtest.Must(sys.Obstacle(f, farByte+1))(t); got != sys.NoLock {
			t.Errorf("%s: %v on the byte after it", c.what, got)
		}
	}
	if got := shmtest.Must(sys.Obstacle(other, farByte))(t); got != sys.NoLock {
		t.Errorf("the holder finds %v in its own way", got)
	}
}

// TestAnyLock: whoever may only read can leave a lock, and others find it, but not its
// own description.
func TestAnyLock(t *testing.T) {
	f := file(t, 1)
	f2 := shmtest.Opened(os.Open(f.Name()))(t)
	reader := shmtest.Opened(sys.ReopenToRead(f2, f.Name()))(t)
	if got, err := sys.TryLock(reader, 0); got || err == nil {
		t.Fatalf("opened for reading only, it gets an exclusive lock: %v", err)
	}
	for _, at := range []int64{farByte + 4, farByte} {
		if got, err := sys.TryShared(reader, at); !got || err != nil {
			t.Fatalf("a shared lock: %v, %v", got, err)
		}
	}
	for _, c := range []struct {
		f         *os.File
		off, n    int64
		at, bytes int64
		found     bool
	}{
		{f, farByte, 10, farByte, 1, true}, {f, farByte + 1, 10, farByte + 4, 1, true}, {f, farByte + 1, 3, 0, 0, false},
		{f2, farByte, 1, farByte, 1, true}, {reader, farByte, 10, 0, 0, false},
	} {
		at, n, found, err := sys.AnyLock(c.f, c.off, c.n)
		if at != c.at || n != c.bytes || found != c.found || err != nil {
			t.Errorf("%d bytes from %d: %d bytes at %d, %v, %v", c.n, c.off, n, at, found, err)
		}
	}
	l := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart, Start: farByte + 100} // as far as there are bytes
	check(t, unix.FcntlFlock(reader.Fd(), unix.F_OFD_SETLK, &l))
	if at, n, found, err := sys.AnyLock(f, farByte+200, 1); !found || at != farByte+100 || n <= 1<<61 || err != nil {
		t.Errorf("of an endless lock: %d bytes at %d, %v, %v", n, at, found, err)
	}
	if got := shmtest.Must(sys.TryLock(f, 7))(t); !got {
		t.Fatal("byte 7 is locked")
	}
	if got, err := sys.TryShared(reader, 7); got || err != nil {
		t.Errorf("a shared lock beside an exclusive one: %v, %v", got, err)
	}
}

func TestLocksOfAClosedFile(t *testing.T) {
	f := file(t, 1)
	check(t, f.Close())
	if got, err := sys.TryLock(f, 0); got || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("TryLock: %v, %v", got, err)
	}
	if err := sys.WaitLock(f, 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("WaitLock: %v", err)
	}
	if got, err := sys.TryShared(f, 0); got || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("TryShared: %v, %v", got, err)
	}
	if _, _, found, err := sys.AnyLock(f, 0, 1); found || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("AnyLock: %v, %v", found, err)
	}
	if _, err := sys.Obstacle(f, 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Obstacle: %v", err)
	}
	if got, err := sys.Locked(f, 0, 1); !got || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Locked: %v, %v", got, err)
	}
	if got, err := sys.LockedFast(f, 0); !got || err == nil {
		t.Errorf("LockedFast: %v, %v", got, err)
	}
	sys.Unlock(f, 0)
}
