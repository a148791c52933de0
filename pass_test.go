//go:build linux

package shm_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
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
			if len(cmd.ExtraFiles) != 2 {
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
		"":           fs.ErrInvalid,
		"3":          fs.ErrInvalid,
		"x:1:2":      fs.ErrInvalid,
		"-1:1:2":     fs.ErrInvalid,
		"1:1:2":      fs.ErrInvalid,
		"3:-1:2":     fs.ErrInvalid,
		"999999:1:2": fs.ErrNotExist,
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

// A child that inherits all that its parent had does not keep the parent's locks.
func TestLeaseIsNotInherited(t *testing.T) {
	p := shmtest.Start(t, passHolder, shmtest.Name(t))
	p.Expect("waiting false")
	if err := p.Cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.Expect("locked true")
}
