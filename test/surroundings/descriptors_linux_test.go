package surroundings_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
	"golang.org/x/sys/unix"
)

// keeper holds a mutex for as long as it lives.
var keeper = shmtest.Helper("keeper", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	mu, err := shm.NewMutex(s, "mu")
	if err != nil {
		return err
	}
	mu.Lock()
	fmt.Println("locked")
	return shmtest.Replies(func([]string) (string, error) {
		mu.Unlock() // which panics if another process has got the lock
		return "unlocked", nil
	})
})

// daemon has an id. Then it closes all descriptors, as daemons do, and its next files
// get their numbers. It says of a lock whose holder lives what it sees.
var daemon = shmtest.Helper("daemon", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	mu, err := shm.NewMutex(s, "mu")
	if err != nil {
		return err
	}
	e, ok := s.Lookup("mu")
	if !ok {
		return errors.New("the mutex has no entry")
	}
	fmt.Println(mu.TryLock())
	inode, err := shmtest.Inode(s.File())
	if err != nil {
		return err
	}
	log, err := unix.MemfdCreate("log", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	n := 0
	for fd := 3; fd < 1024; fd++ {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil || st.Ino != inode {
			continue
		}
		n++
		if err := unix.Dup3(log, fd, unix.O_CLOEXEC); err != nil {
			return err
		}
	}
	time.Sleep(20 * time.Millisecond) // longer than the time between two probes
	l, _ := e.Lock()
	fmt.Println(n, mu.TryLock(), l.Alive)
	time.Sleep(150 * time.Millisecond) // longer than the time between two looks at its own lease
	for _, err := range []error{shmtest.Error(shm.NewMutex(s, "mu")), shmtest.Error(shm.NewMutex(s, "new")), shmtest.Error(shm.NewRawValue(s, "raw", int64(0)))} {
		fmt.Println(errors.Is(err, fs.ErrClosed), strings.Contains(fmt.Sprint(err), "close_range"))
	}
	var st unix.Stat_t
	if err := unix.Fstat(log, &st); err != nil {
		return err
	}
	fmt.Println("log:", st.Size)
	return nil
})

// A process whose descriptors other code has closed robs nobody, changes no other
// file, and is told.
func TestDaemonClosesDescriptors(t *testing.T) {
	shmtest.NeedLinux(t, "descriptor of the segment that holds its lease")
	name := shmtest.Name(t)
	shmtest.Must(shm.NewMutex(shmtest.Opened(shm.Open(name, nil))(t), "mu"))(t)
	k := shmtest.Start(t, keeper, name)
	k.Expect("locked")
	d := shmtest.Start(t, daemon, name)
	d.Expect("false")
	d.Expect("2 false true")
	for range 3 {
		d.Expect("true true")
	}
	d.Expect("log: 0")
	d.Wait()
	k.Do("unlock", "unlocked")
}

// leaseReader keeps a read lock on bytes of a file, for which permission to read is
// enough.
var leaseReader = shmtest.Helper("leaseReader", func(args []string) error {
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	l := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart}
	if _, err := fmt.Sscan(args[1]+" "+args[2], &l.Start, &l.Len); err != nil {
		return err
	}
	fmt.Println(unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l))
	return shmtest.Replies(func([]string) (string, error) { return "", nil })
})

// taker attaches, takes a lock, and says what became of that.
var taker = shmtest.Helper("taker", func(args []string) error {
	s, err := shm.Open(args[0], &shm.Options{Mode: 0o644})
	if err != nil {
		return err
	}
	v, err := shm.NewValue(s, "n", int64(0))
	if err == nil {
		v.Add(1)
	}
	fmt.Println(errors.Is(err, unix.EAGAIN), errors.Is(err, shm.ErrFormat), strings.Contains(fmt.Sprint(err), "may only read"))
	return nil
})

// A reader that locks the bytes of the leases to come keeps others from new ids. They
// are told what it is, and what was there goes on.
func TestReaderLocksTheLeases(t *testing.T) {
	shmtest.NeedLinux(t, "locks on the bytes of a segment")
	asNobody := shmtest.AsNobody(t)
	name := shmtest.Name(t)
	s := shmtest.Opened(shm.Open(name, &shm.Options{Mode: 0o644}))(t)
	v := shmtest.Must(shm.NewValue(s, "n", int64(0)))(t)
	reader := shmtest.StartCmd(t, leaseReader, func(cmd *exec.Cmd) { asNobody(cmd) }, shm.Path(name), fmt.Sprint(int64(format.LeaseBase+2)), fmt.Sprint(1<<30))
	reader.Expect("<nil>")
	for range 2 {
		p := shmtest.Start(t, taker, name)
		p.Expect("true false true")
		p.Wait()
	}
	shmtest.Must(shm.NewRawValue(s, "raw", int64(1)))(t)
	reader.Kill()
	p := shmtest.Start(t, taker, name)
	p.Expect("false false false")
	p.Wait()
	if got := v.Add(1); got != 2 {
		t.Errorf("%d", got)
	}
	if next := nextID(t, agent.HeaderOf(agent.MapFile(t, shm.Path(name)))); next != 3 {
		t.Errorf("the next id is %d: ids were used up", next)
	}
}
