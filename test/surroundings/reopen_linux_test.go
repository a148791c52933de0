package surroundings_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"golang.org/x/sys/unix"
)

// confined works on its descriptor 3, which it may not open again. Values that are
// there and have no lock work. New ones, and those with a lock, fail for that reason
// and leave nothing. If it has an argument, it goes to that root directory first.
var confined = shmtest.Helper("confined", func(args []string) error {
	root := args[0]
	if root != "" {
		if err := errors.Join(unix.Chroot(root), unix.Chdir("/")); err != nil {
			return err
		}
	}
	s, err := shm.OpenFile(os.NewFile(3, "inherited"), nil)
	if err != nil {
		return err
	}
	v, err := shm.NewRawValue(s, "n", int64(0))
	if err != nil {
		return err
	}
	v.Set(v.Get() + 1)
	counter, err := shm.NewAtomic(s, "counter", int32(0))
	if err != nil {
		return err
	}
	counter.Add(1)
	a, err := shm.NewRawArray[byte](s, "array", 0)
	if err != nil {
		return err
	}
	a.Set(a.Len()-1, 9)
	for i, err := range []error{
		shmtest.Error(shm.NewValue(s, "locked", int64(0))),
		shmtest.Error(shm.NewMutex(s, "mutex")),
		shmtest.Error(shm.NewValue(s, "existing", int64(0))),
		shmtest.Error(shm.NewRawValue(s, "raw", int64(0))),
		shmtest.Error(shm.NewAtomic(s, "atomic", int64(0))),
	} {
		fmt.Println(i, reason(err), strings.Contains(fmt.Sprint(err), "open file description of its own"))
	}
	for _, name := range []string{"locked", "mutex", "raw", "atomic"} {
		if _, ok := s.Lookup(name); ok {
			return fmt.Errorf("%s is there", name)
		}
	}
	if root == "" {
		return nil
	}
	// A file that has a name can be opened again without /proc.
	named, err := shm.Open("/named", nil)
	if err != nil {
		return err
	}
	l, err := shm.NewValue(named, "locked", int64(1))
	if err != nil {
		return err
	}
	if got := l.Add(1); got != 2 {
		return fmt.Errorf("locked value of a named segment is %d", got)
	}
	return nil
})

func TestDescriptorsThatCannotBeReopened(t *testing.T) {
	shmtest.NeedLinux(t, "segment without a lease file, whose name the process must be able to open")
	setUp := func(t *testing.T, s *shm.Segment) {
		shmtest.Must(shm.NewRawValue(s, "n", int64(41)))(t)
		shmtest.Must(shm.NewValue(s, "existing", int64(0)))(t)
		shmtest.Must(shm.NewAtomic(s, "counter", int32(5)))(t)
		shmtest.Must(shm.NewRawArray[byte](s, "array", 1<<20))(t)
	}
	check := func(t *testing.T, s *shm.Segment, p *shmtest.Process, why error) {
		for i := range 5 {
			p.Expect(fmt.Sprint(i, " ", why, " true"))
		}
		p.Wait()
		if shmtest.Must(shm.NewRawValue(s, "n", int64(0)))(t).Get() != 42 ||
			shmtest.Must(shm.NewAtomic(s, "counter", int32(0)))(t).Load() != 6 ||
			shmtest.Must(shm.NewRawArray[byte](s, "array", 0))(t).Get(1<<20-1) != 9 {
			t.Fatal("what it wrote is not there")
		}
	}
	t.Run("chroot without proc", func(t *testing.T) {
		inNamespace := shmtest.InNamespace(t)
		s := shmtest.Opened(shm.Anonymous(nil))(t)
		setUp(t, s)
		p := shmtest.StartCmd(t, confined, func(cmd *exec.Cmd) {
			inNamespace(cmd)
			cmd.ExtraFiles = []*os.File{s.File()}
		}, t.TempDir())
		check(t, s, p, fs.ErrNotExist)
	})
	t.Run("file of another user", func(t *testing.T) {
		asNobody := shmtest.AsNobody(t)
		s := shmtest.Opened(shm.Open(shmtest.Name(t), nil))(t)
		setUp(t, s)
		p := shmtest.StartCmd(t, confined, func(cmd *exec.Cmd) {
			asNobody(cmd)
			cmd.ExtraFiles = []*os.File{s.File()}
		}, "")
		check(t, s, p, fs.ErrPermission)
	})
}

// worker makes values in the segment that its parent has passed.
var worker = shmtest.Helper("worker", func(args []string) error {
	s, err := shm.Inherited(args[0], nil)
	if err != nil {
		return err
	}
	v, err := shm.NewValue(s, "n", int64(0))
	if err != nil {
		return err
	}
	for i := range 100 {
		other, err := shm.Inherited(args[0], nil) // whose Close drops no lock
		if err != nil {
			return err
		}
		if err := other.Close(); err != nil {
			return err
		}
		a, err := shm.NewRawArray[uint32](s, fmt.Sprintf("%s-%d", args[1], i), 100)
		if err != nil {
			return err
		}
		for j, x := range a.All() {
			if x != 0 {
				return fmt.Errorf("array %d[%d] starts as %#x", i, j, x)
			}
			a.Set(j, 1)
		}
		v.Add(1)
	}
	return nil
})

// Workers that cannot open the file make values at the same time as others, in a
// segment that was passed to them.
func TestUnprivilegedWorkersMakeValues(t *testing.T) {
	asNobody := shmtest.AsNobody(t)
	name := shmtest.Name(t)
	s := shmtest.Opened(shm.Open(name, nil))(t)
	var all []*shmtest.Process
	for i := range 4 {
		all = append(all, shmtest.StartCmd(t, worker, func(cmd *exec.Cmd) { asNobody(cmd); s.Pass(cmd) }, name, fmt.Sprint(i)))
	}
	for i := range 100 {
		shmtest.Must(shm.NewRawArray[uint32](s, fmt.Sprintf("own-%d", i), 100))(t).Set(0, 1)
	}
	for _, p := range all {
		p.Wait()
	}
	again := shmtest.Opened(shm.Open(name, nil))(t)
	if n, sum := len(slices.Collect(again.Entries())), shmtest.Must(shm.NewValue(again, "n", int64(0)))(t).Load(); n != 5*100+1 || sum != 4*100 {
		t.Fatalf("%d values, and %d additions", n, sum)
	}
}

// Whoever has the descriptor of an anonymous segment may take its locks.
func TestAnonymousLocksForAnotherUser(t *testing.T) {
	shmtest.NeedLinux(t, "segment without a lease file, which another user may not open")
	asNobody := shmtest.AsNobody(t)
	s := shmtest.Opened(shm.Anonymous(nil))(t)
	v := shmtest.Must(shm.NewValue(s, "n", int64(0)))(t)
	p := shmtest.StartCmd(t, adderOfFile, func(cmd *exec.Cmd) {
		asNobody(cmd)
		cmd.ExtraFiles = []*os.File{s.File()}
	})
	p.Wait()
	if got := v.Load(); got != 1 {
		t.Fatalf("got %d", got)
	}
}

// adderOfFile adds 1 to a Value of the segment in descriptor 3.
var adderOfFile = shmtest.Helper("adderOfFile", func(args []string) error {
	s, err := shm.OpenFile(os.NewFile(3, "inherited"), nil)
	if err != nil {
		return err
	}
	v, err := shm.NewValue(s, "n", int64(0))
	if err == nil {
		v.Add(1)
	}
	return err
})

// inheritor has the segment in descriptor 3, which it may not open again. It closes
// another attachment again and again, and tries to make values.
var inheritor = shmtest.Helper("inheritor", func(args []string) error {
	f := os.NewFile(3, "inherited")
	s, err := shm.OpenFile(f, nil)
	if err != nil {
		return err
	}
	for i := range 100 {
		other, err := shm.OpenFile(f, nil)
		if err != nil {
			return err
		}
		if err := other.Close(); err != nil {
			return err
		}
		if err := shmtest.Error(shm.NewRawValue(s, fmt.Sprintf("%s-%d", args[0], i), int64(1))); !errors.Is(err, syscall.EACCES) {
			return fmt.Errorf("value %d: %w", i, err)
		}
	}
	return nil
})

// Processes that share one open file, and cannot have their own, have nothing to
// exclude each other by. They make no values, and leave the directory as it is.
func TestProcessesShareOneOpenFile(t *testing.T) {
	shmtest.NeedLinux(t, "segment without a lease file, which another user may not open")
	asNobody := shmtest.AsNobody(t)
	name := shmtest.Name(t)
	s := shmtest.Opened(shm.Open(name, nil))(t)
	var all []*shmtest.Process
	for i := range 4 {
		all = append(all, shmtest.StartCmd(t, inheritor, func(cmd *exec.Cmd) {
			asNobody(cmd)
			cmd.ExtraFiles = []*os.File{s.File()}
		}, fmt.Sprint(i)))
	}
	// This process may open the file again.
	for i := range 300 {
		shmtest.Must(shm.NewRawArray[uint32](s, fmt.Sprintf("own-%d", i), 100))(t).Set(0, 1)
	}
	for _, p := range all {
		p.Wait()
	}
	again := shmtest.Opened(shm.Open(name, nil))(t)
	if n := len(slices.Collect(again.Entries())); n != 300 {
		t.Fatalf("%d values", n)
	}
}
