//go:build linux

package shm_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"example.org/shm/test/agent"
)

// passVariable starts the environment variable of Pass. The name of the segment in
// hexadecimal follows.
const passVariable = "SHM_SEGMENT_"

// passChild attaches twice to a segment that it inherits, and adds 1 each time.
var passChild = shmtest.Helper("passChild", func(args []string) error {
	s, err := shm.Inherited(args[0], nil)
	if err != nil {
		return err
	}
	v, err := shm.NewValue(s, "n", int64(0))
	if err != nil {
		return err
	}
	v.Add(1)
	if err := s.Close(); err != nil {
		return err
	}
	again, err := shm.Inherited(args[0], nil)
	if err != nil {
		return err
	}
	if v, err = shm.NewValue(again, "n", int64(0)); err != nil {
		return err
	}
	fmt.Println(v.Add(1), again.Name() == args[0])
	return nil
})

func TestPass(t *testing.T) {
	name := shmtest.Name(t)
	named, anonymous := open(t, name, nil), shmtest.Opened(shm.Anonymous(nil))(t)
	file := open(t, filepath.Join(t.TempDir(), "segment"), nil)
	for what, s := range map[string]*shm.Segment{"named": named, "anonymous": anonymous, "file": file} {
		v := shmtest.Must(shm.NewValue(s, "n", int64(0)))(t)
		for _, change := range []func(*exec.Cmd){
			func(*exec.Cmd) {},
			func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{os.Stderr, nil} },
			func(cmd *exec.Cmd) { cmd.Env = nil; t.Setenv(shmtest.HelperVariable, passChild) }, // Env is then this process's
			func(cmd *exec.Cmd) { cmd.Dir = t.TempDir() },
			func(cmd *exec.Cmd) { s.Pass(cmd) }, // Pass is then called twice
			func(cmd *exec.Cmd) { // what a parent that passed another segment has left
				cmd.Env = append(cmd.Env, passVariable+fmt.Sprintf("%x", s.Name())+"=3:1:2")
				cmd.ExtraFiles = []*os.File{os.Stderr}
			},
		} {
			before := v.Load()
			p := shmtest.StartCmd(t, passChild, func(cmd *exec.Cmd) { change(cmd); s.Pass(cmd) }, s.Name())
			p.Expect(fmt.Sprint(before+2, " true"))
			p.Wait()
		}
		if v.Load() != 12 {
			t.Errorf("%s: %d", what, v.Load())
		}
	}
	// A child that gets two segments tells them apart by name.
	both := func(cmd *exec.Cmd) { named.Pass(cmd); anonymous.Pass(cmd); named.Pass(cmd) }
	for _, name := range []string{name, ""} {
		p := shmtest.StartCmd(t, passChild, func(cmd *exec.Cmd) {
			both(cmd)
			if len(cmd.ExtraFiles) != 2*2 { // each with its socket
				t.Errorf("%d files for two segments", len(cmd.ExtraFiles))
			}
		}, name)
		p.Expect("14 true")
		p.Wait()
	}
}

func TestPassPanics(t *testing.T) {
	one, two := shmtest.Opened(shm.Anonymous(nil))(t), shmtest.Opened(shm.Anonymous(nil))(t)
	cmd := exec.Command("true")
	one.Pass(cmd)
	if msg, ok := shmtest.Panic(func() { two.Pass(cmd) }).(string); !ok || !strings.Contains(msg, "another segment") {
		t.Error("two segments of one name")
	}
	if err := two.Close(); err != nil {
		t.Fatal(err)
	}
	if err, ok := shmtest.Panic(func() { two.Pass(exec.Command("true")) }).(error); !ok || !errors.Is(err, shm.ErrClosed) {
		t.Error(err)
	}
}

// passParent gives its children its environment, but no descriptor, or a wrong one.
var passParent = shmtest.Helper("passParent", func(args []string) error {
	s, err := shm.Inherited("", nil)
	if err != nil {
		return err
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	for _, files := range [][]*os.File{nil, {f}} {
		cmd, err := shmtest.Command(passOrphan)
		if err != nil {
			return err
		}
		cmd.ExtraFiles = files
		out, err := cmd.CombinedOutput()
		fmt.Printf("%s%v\n", out, err)
	}
	// A child that gets another segment under that name finds that one.
	other, err := shm.Anonymous(nil)
	if err != nil {
		return err
	}
	if _, err := shm.NewValue(other, "n", int64(50)); err != nil {
		return err
	}
	cmd, err := shmtest.Command(passChild, "")
	if err != nil {
		return err
	}
	cmd.ExtraFiles = []*os.File{f}
	other.Pass(cmd)
	out, err := cmd.CombinedOutput()
	fmt.Printf("%s%v\n", out, err)
	return s.Close()
})

var passOrphan = shmtest.Helper("passOrphan", func([]string) error {
	_, err := shm.Inherited("", nil)
	var of *fs.PathError
	fmt.Println(errors.Is(err, fs.ErrNotExist), errors.As(err, &of))
	return nil
})

func TestGrandchildInheritsNothing(t *testing.T) {
	s := shmtest.Opened(shm.Anonymous(nil))(t)
	p := shmtest.StartCmd(t, passParent, s.Pass)
	for range 2 {
		p.Expect("true true")
		p.Expect("<nil>")
	}
	p.Expect("52 true")
	p.Expect("<nil>")
	p.Wait()
}

func TestInheritedRefuses(t *testing.T) {
	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer w.Close()
	variable := passVariable + fmt.Sprintf("%x", "x")
	for value, want := range map[string]error{
		"":             fs.ErrInvalid,
		"3":            fs.ErrInvalid,
		"x:1:2":        fs.ErrInvalid,
		"-1:1:2":       fs.ErrInvalid,
		"1:1:2":        fs.ErrInvalid,
		"3:-1:2":       fs.ErrInvalid,
		"3:1:2:":       fs.ErrInvalid,
		"3:1:2:x":      fs.ErrInvalid,
		"3:1:2:2":      fs.ErrInvalid,
		"3:1:2:3:4":    fs.ErrInvalid,
		"3:1":          fs.ErrInvalid,
		"999999:1:2":   fs.ErrNotExist,
		"999999:1:2:3": fs.ErrNotExist,
	} {
		t.Setenv(variable, value)
		if _, err := shm.Inherited("x", nil); !errors.Is(err, want) {
			t.Errorf("%q: %v", value, err)
		}
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(int(pipe.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	t.Setenv(variable, fmt.Sprintf("%d:%d:%d", pipe.Fd(), st.Dev, st.Ino))
	if _, err := shm.Inherited("x", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a pipe: %v", err)
	}
	// A descriptor that only permits reading, of a segment that is mapped for writing
	// already.
	name := shmtest.Name(t)
	shmtest.Must(shm.NewValue(open(t, name, nil), "n", int64(7)))(t)
	f := shmtest.Opened(os.Open(shm.Path(name)))(t)
	key, _, err := sys.Identify(f, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(variable, fmt.Sprintf("%d:%v", f.Fd(), key))
	if _, err := shm.Inherited("x", nil); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a descriptor for reading: %v", err)
	}
	s := shmtest.Opened(shm.Inherited("x", &shm.Options{ReadOnly: true}))(t)
	if got := shmtest.Must(shm.NewValue(s, "n", int64(0)))(t).Load(); got != 7 {
		t.Errorf("through a descriptor for reading: %d", got)
	}
	if _, err := shm.Inherited("none", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := shm.Inherited("x", &shm.Options{Exclusive: true}); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
}

// passHolder passes its segment to a child that outlives it, and dies while it holds a
// lock.
var passHolder = shmtest.Helper("passHolder", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	mu, err := shm.NewMutex(s, "mu")
	if err != nil {
		return err
	}
	mu.Lock()
	cmd, err := shmtest.Command(passSurvivor, args[0])
	if err != nil {
		return err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	s.Pass(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Wait()
})

var passSurvivor = shmtest.Helper("passSurvivor", func(args []string) error {
	s, err := shm.Inherited(args[0], nil)
	if err != nil {
		return err
	}
	mu, err := shm.NewMutex(s, "mu")
	if err != nil {
		return err
	}
	fmt.Println("waiting", mu.TryLock())
	mu.Lock()
	fmt.Println("locked", mu.Abandoned())
	return nil
})

// passWorker attaches to what its parent has passed, as often and in the way that it is
// told, and adds 1 to a value each time, also to one that it makes. Between two times
// nothing is left of the first. Then it takes the mutex, and keeps it.
var passWorker = shmtest.Helper("passWorker", func(args []string) error {
	file := os.NewFile(3, "inherited")
	attach := func() (err error) {
		var s *shm.Segment
		if args[0] == "OpenFile" {
			s, err = shm.OpenFile(file, nil)
		} else {
			s, err = shm.Inherited(args[1], nil)
		}
		if err != nil {
			return err
		}
		for _, name := range []string{"n", "new", "raw"} {
			v, err := shm.NewValue(s, name, int64(0))
			if err != nil {
				return err
			}
			v.Add(1)
		}
		return s.Close()
	}
	for range 3 {
		if err := attach(); err != nil {
			return err
		}
		runtime.GC() // It unmaps what nobody uses.
		time.Sleep(10 * time.Millisecond)
	}
	s, err := shm.Inherited(args[1], nil)
	if err != nil {
		return err
	}
	mu, err := shm.NewMutex(s, "mu")
	if err != nil {
		return err
	}
	mu.Lock()
	fmt.Println("locked by", os.Getuid())
	return shmtest.Replies(func([]string) (string, error) { return "", file.Close() })
})

// A worker with fewer rights than its parent gets from it what it needs for locks and
// for new values, whatever the segment is. Its locks end with it.
func TestPassToAnotherUser(t *testing.T) {
	asNobody := shmtest.AsNobody(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for what, s := range map[string]*shm.Segment{
		"named": open(t, shmtest.Name(t), nil), "for all": open(t, shmtest.Name(t), &shm.Options{Mode: 0o666}),
		"file": open(t, filepath.Join(dir, "segment"), nil), "anonymous": shmtest.Opened(shm.Anonymous(nil))(t),
	} {
		v, mu := shmtest.Must(shm.NewValue(s, "n", int64(0)))(t), shmtest.Must(shm.NewMutex(s, "mu"))(t)
		for _, how := range []string{"Inherited", "OpenFile"} {
			p := shmtest.StartCmd(t, passWorker, func(cmd *exec.Cmd) { asNobody(cmd); s.Pass(cmd) }, how, s.Name())
			if got := p.Line(); got != "locked by 65534" {
				t.Fatalf("%s, %s: %s", what, how, got)
			}
			if mu.TryLock() {
				t.Fatalf("%s, %s: the worker that holds the lock is robbed", what, how)
			}
			p.Kill()
			if mu.Lock(); !mu.Abandoned() {
				t.Fatalf("%s, %s: the lock of the worker does not end with it", what, how)
			}
			mu.Unlock()
		}
		if n := shmtest.Must(shm.NewValue(s, "new", int64(0)))(t).Load(); v.Load() != 6 || n != 6 {
			t.Errorf("%s: %d and %d", what, v.Load(), n)
		}
	}
}

// passReader attaches for reading, prints how many sockets it has, and awaits a number.
var passReader = shmtest.Helper("passReader", func(args []string) error {
	s, err := shm.Inherited(args[0], &shm.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	v, err := shm.NewValue(s, "n", int64(0))
	if err != nil {
		return err
	}
	fmt.Println("sockets", sockets())
	if args[1] == "write" {
		s, err := shm.Inherited(args[0], nil)
		if err != nil {
			return err
		}
		own, err := shm.NewValue(s, "n", int64(0))
		if err != nil {
			return err
		}
		own.Add(1)
	}
	n, err := v.Await(context.Background(), func(n int64) bool { return n >= 7 })
	fmt.Println("saw", n)
	return err
})

// sockets returns how many descriptors of this process are sockets.
func sockets() (n int) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// A child that only reads leaves no socket open, and is told of changes as others are. It
// may attach for writing later.
func TestPassToAReader(t *testing.T) {
	shmtest.NeedLinux(t, "way for a reader to ask")
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	as := func(*exec.Cmd) {}
	if os.Geteuid() == 0 {
		as = shmtest.AsNobody(t)
	}
	for what, s := range map[string]*shm.Segment{
		"named": open(t, shmtest.Name(t), nil), "file": open(t, filepath.Join(dir, "segment"), nil), "anonymous": shmtest.Opened(shm.Anonymous(nil))(t),
	} {
		for _, how := range []string{"read", "write"} {
			v := shmtest.Must(shm.NewValue(s, "n", int64(0)))(t)
			v.Store(0)
			p := shmtest.StartCmd(t, passReader, func(cmd *exec.Cmd) { as(cmd); s.Pass(cmd) }, s.Name(), how)
			if got := p.Line(); got != "sockets 0" {
				t.Errorf("%s, %s: the child has %s", what, how, got)
			}
			if how == "write" {
				shmtest.Eventually(t, what+": the child has written", func() bool { return v.Load() == 1 })
			}
			if cell := agent.Cell(t, s, "n"); sys.CanWaitAny() {
				shmtest.Eventually(t, what+": the child is announced", func() bool { return cell.Change.Word.Load()&format.Awaited != 0 })
			}
			v.Store(7)
			p.Expect("saw 7")
			p.Wait()
		}
	}
}

// A description ends with the command that has not been started, or whose child does not
// attach.
func TestPassForNobody(t *testing.T) {
	s := shmtest.Opened(shm.Anonymous(nil))(t)
	before := -1
	shmtest.Eventually(t, "what earlier tests have left is closed", func() bool {
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
		last := before
		before = sockets()
		return before == last
	})
	func() {
		for range 10 {
			s.Pass(exec.Command("none"))
			cmd := exec.Command("true")
			s.Pass(cmd)
			if err := cmd.Run(); err != nil {
				t.Skip(err)
			}
		}
		if got := sockets(); got < before+20 {
			t.Errorf("%d sockets, %d before", got, before)
		}
	}()
	shmtest.Eventually(t, "the sockets are closed", func() bool { runtime.GC(); return sockets() <= before })
}

// A reader hands over no more than it has.
func TestPassOfAReader(t *testing.T) {
	name := shmtest.Name(t)
	shmtest.Must(shm.NewValue(open(t, name, nil), "n", int64(0)))(t)
	s := open(t, name, &shm.Options{ReadOnly: true})
	cmd := exec.Command("true")
	if s.Pass(cmd); len(cmd.ExtraFiles) != 1 {
		t.Errorf("%d files", len(cmd.ExtraFiles))
	}
}

// passPoor passes its segment while it has no descriptor left for a socket.
var passPoor = shmtest.Helper("passPoor", func([]string) error {
	s, err := shm.Anonymous(nil)
	if err != nil {
		return err
	}
	if _, err := shm.NewValue(s, "n", int64(0)); err != nil {
		return err
	}
	cmd, err := shmtest.Command(passChild, "")
	if err != nil {
		return err
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		return err
	}
	none := old
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		return err
	}
	s.Pass(cmd)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		return err
	}
	out, err := cmd.CombinedOutput()
	fmt.Printf("%d %s", len(cmd.ExtraFiles), out)
	return err
})

// Where the system refuses what is for the child's lease, Pass leaves it out.
func TestPassWithoutASocket(t *testing.T) {
	p := shmtest.Start(t, passPoor)
	p.Expect("1 2 true")
	p.Wait()
}

// passSocket has an environment of its parent, in which the socket's number is that of
// another socket by now.
var passSocket = shmtest.Helper("passSocket", func([]string) error {
	s, err := shm.Inherited("", nil)
	if err != nil {
		return err
	}
	if _, err := shm.NewValue(s, "n", int64(0)); err != nil {
		return err
	}
	b := make([]byte, 10)
	n, err := os.NewFile(4, "socket").Read(b)
	fmt.Printf("%s %v\n", b[:n], err)
	return nil
})

// The number of the socket may be that of another socket of the child.
func TestPassLeavesOtherSocketsAlone(t *testing.T) {
	s := shmtest.Opened(shm.Anonymous(nil))(t)
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(ends[0]), "socket"), os.NewFile(uintptr(ends[1]), "socket")
	defer theirs.Close()
	if _, err := ours.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	ours.Close()
	p := shmtest.StartCmd(t, passSocket, func(cmd *exec.Cmd) {
		s.Pass(cmd)
		cmd.ExtraFiles[1] = theirs
	})
	p.Expect("x <nil>")
	p.Wait()
}

// A child that inherits all that its parent had does not keep the parent's locks.
func TestLeaseIsNotInherited(t *testing.T) {
	p := shmtest.Start(t, passHolder, shmtest.Name(t))
	p.Expect("waiting false")
	if err := p.Cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.Expect("locked true")
}
