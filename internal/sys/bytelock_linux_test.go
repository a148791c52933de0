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

// holdProcessLock locks a byte for the process, and opens and closes the file
// when it is told to.
var holdProcessLock = shmtest.Helper("holdProcessLock", func(args []string) error {
	f, err := os.OpenFile(args[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return shmtest.Replies(func(words []string) (string, error) {
		var err error
		switch words[0] {
		case "lock":
			err = sys.WaitLockProcess(f, farByte)
		case "unlock":
			sys.UnlockProcess(f, farByte)
		case "close":
			var other *os.File
			if other, err = os.Open(args[0]); err == nil {
				err = other.Close()
			}
		}
		return words[0], err
	})
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

func TestProcessLock(t *testing.T) {
	f := file(t, 1)
	p := shmtest.Start(t, holdProcessLock, f.Name())
	tell := func(what string, want bool) {
		t.Helper()
		p.Do(what, what)
		if locked(t, f, farByte) != want {
			t.Fatalf("after %s it is locked: %v", what, !want)
		}
	}
	tell("lock", true)
	tell("unlock", false)
	tell("lock", true)
	tell("close", false) // the trap that WaitLockProcess documents
	tell("lock", true)
	p.Kill()
	if locked(t, f, farByte) {
		t.Fatal("it is locked after the death of its holder")
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
	if err := sys.WaitLockProcess(f, 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("WaitLockProcess: %v", err)
	}
	if got, err := sys.Locked(f, 0, 1); !got || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Locked: %v, %v", got, err)
	}
	if got, err := sys.LockedFast(f, 0); !got || err == nil {
		t.Errorf("LockedFast: %v, %v", got, err)
	}
	sys.Unlock(f, 0)
	sys.UnlockProcess(f, 0)
}
