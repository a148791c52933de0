//go:build linux

package shm

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
)

// passChild attaches to what it is told it inherits, twice, and adds; with more
// arguments it starts heirs of its own.
var passChild = helper("passChild", func(args []string) error {
	s, err := Inherited(args[0], nil)
	if err != nil {
		return err
	}
	v, err := NewValue(s, "n", int64(0))
	if err != nil {
		return err
	}
	v.Add(1)
	if err := s.Close(); err != nil {
		return err
	}
	again, err := Inherited(args[0], nil)
	if err != nil {
		return err
	}
	if v, err = NewValue(again, "n", int64(0)); err != nil {
		return err
	}
	fmt.Println(v.Add(1), again.Name() == args[0])
	return nil
})

func TestPass(t *testing.T) {
	name := testName(t)
	named, anonymous := open(t, name, nil), must(Anonymous(nil))(t)
	file := open(t, filepath.Join(t.TempDir(), "segment"), nil)
	for what, s := range map[string]*Segment{"named": named, "anonymous": anonymous, "file": file} {
		v := must(NewValue(s, "n", int64(0)))(t)
		for _, change := range []func(*exec.Cmd){
			func(*exec.Cmd) {},
			func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{os.Stderr, nil} },
			func(cmd *exec.Cmd) { cmd.Env = nil; t.Setenv(helperVariable, passChild) }, // the environment of this process
			func(cmd *exec.Cmd) { cmd.Dir = t.TempDir() },
			func(cmd *exec.Cmd) { s.Pass(cmd) }, // and once more
			func(cmd *exec.Cmd) { // as it comes from a parent that passed another
				cmd.Env = append(cmd.Env, passPrefix+fmt.Sprintf("%x", s.Name())+"=3:1:2")
				cmd.ExtraFiles = []*os.File{os.Stderr}
			},
		} {
			before := v.Load()
			p := startCmd(t, passChild, func(cmd *exec.Cmd) { change(cmd); s.Pass(cmd) }, s.Name())
			p.expect(fmt.Sprint(before+2, " true"))
			p.wait()
		}
		if v.Load() != 12 {
			t.Errorf("%s: %d", what, v.Load())
		}
	}
	// Two of them for one child, which it tells apart by name.
	both := func(cmd *exec.Cmd) { named.Pass(cmd); anonymous.Pass(cmd); named.Pass(cmd) }
	for _, name := range []string{name, ""} {
		p := startCmd(t, passChild, func(cmd *exec.Cmd) {
			both(cmd)
			if len(cmd.ExtraFiles) != 2 {
				t.Errorf("%d files for two segments", len(cmd.ExtraFiles))
			}
		}, name)
		p.expect("14 true")
		p.wait()
	}
}

func TestPassPanics(t *testing.T) {
	one, two := must(Anonymous(nil))(t), must(Anonymous(nil))(t)
	cmd := exec.Command("true")
	one.Pass(cmd)
	if msg, ok := panicOf(func() { two.Pass(cmd) }).(string); !ok || !strings.Contains(msg, "another segment") {
		t.Error("two segments of one name")
	}
	if err := two.Close(); err != nil {
		t.Fatal(err)
	}
	if err, ok := panicOf(func() { two.Pass(exec.Command("true")) }).(error); !ok || !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// passParent passes its environment on, but no descriptor, or a wrong one.
var passParent = helper("passParent", func(args []string) error {
	s, err := Inherited("", nil)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	f, err := os.Open(self)
	if err != nil {
		return err
	}
	for _, files := range [][]*os.File{nil, {f}} {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), helperVariable+"="+passOrphan)
		cmd.ExtraFiles = files
		out, err := cmd.CombinedOutput()
		fmt.Printf("%s%v\n", out, err)
	}
	// And one that gets a segment of its own under that name.
	other, err := Anonymous(nil)
	if err != nil {
		return err
	}
	if _, err := NewValue(other, "n", int64(50)); err != nil {
		return err
	}
	cmd := exec.Command(self, "")
	cmd.Env = append(os.Environ(), helperVariable+"="+passChild)
	cmd.ExtraFiles = []*os.File{f}
	other.Pass(cmd)
	out, err := cmd.CombinedOutput()
	fmt.Printf("%s%v\n", out, err)
	return s.Close()
})

var passOrphan = helper("passOrphan", func([]string) error {
	_, err := Inherited("", nil)
	var of *fs.PathError
	fmt.Println(errors.Is(err, fs.ErrNotExist), errors.As(err, &of))
	return nil
})

func TestGrandchildInheritsNothing(t *testing.T) {
	s := must(Anonymous(nil))(t)
	p := startCmd(t, passParent, s.Pass)
	for range 2 {
		p.expect("true true")
		p.expect("<nil>")
	}
	p.expect("52 true")
	p.expect("<nil>")
	p.wait()
}

func TestInheritedRefuses(t *testing.T) {
	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer w.Close()
	variable := passPrefix + fmt.Sprintf("%x", "x")
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
		if _, err := Inherited("x", nil); !errors.Is(err, want) {
			t.Errorf("%q: %v", value, err)
		}
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(int(pipe.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	t.Setenv(variable, fmt.Sprintf("%d:%d:%d", pipe.Fd(), st.Dev, st.Ino))
	if _, err := Inherited("x", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a pipe: %v", err)
	}
	// A descriptor that permits reading alone, of what is mapped for writing already.
	name := testName(t)
	must(NewValue(open(t, name, nil), "n", int64(7)))(t)
	f := must(os.Open(Path(name)))(t)
	defer f.Close()
	key, _, err := identity(f, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(variable, fmt.Sprintf("%d:%v", f.Fd(), key))
	if _, err := Inherited("x", nil); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a descriptor for reading: %v", err)
	}
	s := must(Inherited("x", &Options{ReadOnly: true}))(t)
	defer s.Close()
	if got := must(NewValue(s, "n", int64(0)))(t).Load(); got != 7 {
		t.Errorf("through a descriptor for reading: %d", got)
	}
	if _, err := Inherited("none", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := Inherited("x", &Options{Exclusive: true}); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
}

// passHolder passes its segment to a child that outlives it, and dies with a lock.
var passHolder = helper("passHolder", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	mu, err := NewMutex(s, "mu")
	if err != nil {
		return err
	}
	mu.Lock()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, args[0])
	cmd.Env = append(os.Environ(), helperVariable+"="+passSurvivor)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	s.Pass(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Wait()
})

var passSurvivor = helper("passSurvivor", func(args []string) error {
	s, err := Inherited(args[0], nil)
	if err != nil {
		return err
	}
	mu, err := NewMutex(s, "mu")
	if err != nil {
		return err
	}
	fmt.Println("waiting", mu.TryLock())
	mu.Lock()
	fmt.Println("locked", mu.Abandoned())
	return nil
})

// TestLeaseIsNotInherited: a child with all that its parent had does not keep
// the parent's locks.
func TestLeaseIsNotInherited(t *testing.T) {
	p := start(t, passHolder, testName(t))
	p.expect("waiting false")
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.expect("locked true")
}
