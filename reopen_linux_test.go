package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// confined works on its descriptor 3, which it may not reopen: raw forms work,
// also new ones, and locked ones fail for that reason and leave nothing.
var confined = helper("confined", func(args []string) error {
	if args[0] != "" {
		if err := errors.Join(unix.Chroot(args[0]), unix.Chdir("/")); err != nil {
			return err
		}
	}
	s, err := OpenFile(os.NewFile(3, "inherited"), nil)
	if err != nil {
		return err
	}
	v, err := NewRawValue(s, "n", int64(0))
	if err != nil {
		return err
	}
	v.Set(v.Get() + 1)
	counter, err := NewAtomic(s, "counter", int32(5))
	if err != nil {
		return err
	}
	counter.Add(1)
	a, err := NewRawArray[byte](s, "array", 1<<20)
	if err != nil {
		return err
	}
	a.Set(1<<20-1, 9)
	for i, err := range []error{
		second(NewValue(s, "locked", int64(0))), second(NewMutex(s, "mutex")), second(NewValue(s, "existing", int64(0))),
	} {
		fmt.Println(i, reason(err), strings.Contains(fmt.Sprint(err), "lease"))
	}
	for _, name := range []string{"locked", "mutex"} {
		if _, ok := s.Lookup(name); ok {
			return fmt.Errorf("%s is there", name)
		}
	}
	if args[0] == "" {
		return nil
	}
	// A name leads to a file that may be opened again, without /proc.
	named, err := Open("/named", nil)
	if err != nil {
		return err
	}
	l, err := NewValue(named, "locked", int64(1))
	if err != nil {
		return err
	}
	if got := l.Add(1); got != 2 {
		return fmt.Errorf("locked value of a named segment is %d", got)
	}
	return nil
})

func TestDescriptorsThatCannotBeReopened(t *testing.T) {
	setUp := func(t *testing.T, s *Segment) {
		must(NewRawValue(s, "n", int64(41)))(t)
		must(NewValue(s, "existing", int64(0)))(t)
	}
	check := func(t *testing.T, s *Segment, p *process, why error) {
		for i := range 3 {
			p.expect(fmt.Sprint(i, " ", why, " true"))
		}
		p.wait()
		if must(NewRawValue(s, "n", int64(0)))(t).Get() != 42 || must(NewAtomic(s, "counter", int32(0)))(t).Load() != 6 ||
			must(NewRawArray[byte](s, "array", 0))(t).Get(1<<20-1) != 9 {
			t.Fatal("what it wrote is not there")
		}
	}
	t.Run("chroot without proc", func(t *testing.T) {
		s := must(Anonymous(nil))(t)
		defer s.Close()
		setUp(t, s)
		p := startNamespacedWith(t, confined, func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{s.File()} }, t.TempDir())
		check(t, s, p, fs.ErrNotExist)
	})
	t.Run("file of another user", func(t *testing.T) {
		needRoot(t)
		s := open(t, testName(t), nil)
		setUp(t, s)
		p := startCmd(t, confined, func(cmd *exec.Cmd) {
			asNobody(cmd)
			cmd.ExtraFiles = []*os.File{s.File()}
		}, "")
		check(t, s, p, fs.ErrPermission)
	})
}

// TestAnonymousLocksForAnotherUser: the descriptor of an anonymous segment is
// the right to lock in it.
func TestAnonymousLocksForAnotherUser(t *testing.T) {
	needRoot(t)
	s := must(Anonymous(nil))(t)
	defer s.Close()
	v := must(NewValue(s, "n", int64(0)))(t)
	p := startCmd(t, adderOfFile, func(cmd *exec.Cmd) {
		asNobody(cmd)
		cmd.ExtraFiles = []*os.File{s.File()}
	})
	p.wait()
	if got := v.Load(); got != 1 {
		t.Fatalf("got %d", got)
	}
}

// adderOfFile adds 1 to a Value of the segment in descriptor 3.
var adderOfFile = helper("adderOfFile", func(args []string) error {
	s, err := OpenFile(os.NewFile(3, "inherited"), nil)
	if err != nil {
		return err
	}
	v, err := NewValue(s, "n", int64(0))
	if err == nil {
		v.Add(1)
	}
	return err
})

// inheritor adds arrays to the segment in descriptor 3, one open file of many
// processes, of which none may open its own.
var inheritor = helper("inheritor", func(args []string) error {
	s, err := OpenFile(os.NewFile(3, "inherited"), nil)
	if err != nil {
		return err
	}
	if err := second(NewMutex(s, "mutex")); !errors.Is(err, syscall.EACCES) {
		return fmt.Errorf("it may open the file again: %w", err)
	}
	for i := range 300 {
		a, err := NewRawArray[uint32](s, fmt.Sprintf("%s-%d", args[0], i), 100)
		if err != nil {
			return err
		}
		for j, x := range a.All() {
			if x != 0 {
				return fmt.Errorf("array %d[%d] starts as %#x", i, j, x)
			}
			a.Set(j, 1)
		}
	}
	return nil
})

func TestProcessesShareOneOpenFile(t *testing.T) {
	needRoot(t)
	s := open(t, testName(t), nil)
	var all []*process
	for i := range 4 {
		all = append(all, startCmd(t, inheritor, func(cmd *exec.Cmd) {
			asNobody(cmd)
			cmd.ExtraFiles = []*os.File{s.File()}
		}, fmt.Sprint(i)))
	}
	// And one that can.
	for i := range 300 {
		must(NewRawArray[uint32](s, fmt.Sprintf("own-%d", i), 100))(t).Set(0, 1)
	}
	for _, p := range all {
		p.wait()
	}
	n := 0
	for range s.Entries() {
		n++
	}
	if n != 5*300 {
		t.Fatalf("%d values", n)
	}
}
