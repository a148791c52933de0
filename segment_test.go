//go:build linux

package shm_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
)

func TestOpenAsTheOptionsAsk(t *testing.T) {
	for _, name := range []string{shmtest.Name(t), filepath.Join(t.TempDir(), "segment")} {
		for _, o := range []shm.Options{{MustExist: true}, {ReadOnly: true}, {Foreign: true}} {
			if _, err := shm.Open(name, &o); !errors.Is(err, fs.ErrNotExist) || !shmtest.IsPathError(err, shm.Path(name)) {
				t.Fatalf("%+v of a missing name: %v", o, err)
			}
		}
		if err := shm.Remove(name); !errors.Is(err, fs.ErrNotExist) || !shmtest.IsPathError(err, shm.Path(name)) {
			t.Fatalf("Remove of a missing name: %v", err)
		}
		s := open(t, name, &shm.Options{Exclusive: true})
		if s.Name() != name || s.Size() < format.HeaderSize {
			t.Fatalf("%q of %d bytes", s.Name(), s.Size())
		}
		if _, err := shm.Open(name, &shm.Options{Exclusive: true}); !errors.Is(err, fs.ErrExist) || !shmtest.IsPathError(err, shm.Path(name)) {
			t.Fatalf("Exclusive of what exists: %v", err)
		}
		open(t, name, &shm.Options{MustExist: true})
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		if err := shm.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range []shm.Options{
		{Exclusive: true, MustExist: true}, {Exclusive: true, ReadOnly: true}, {Exclusive: true, Foreign: true},
		{MaxSize: -1}, {MaxSize: 1 << 62}, {Mode: fs.ModeSetuid | 0o600}, {Mode: fs.ModeDir},
	} {
		if _, err := shm.Open(shmtest.Name(t), &o); !errors.Is(err, fs.ErrInvalid) {
			t.Fatalf("%+v: %v", o, err)
		}
	}
}

// What no segment can be stays.
func TestRemoveOfOtherFiles(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "socket")
	shmtest.Opened(net.Listen("unix", socket))(t)
	directory := filepath.Join(dir, "directory")
	if err := os.Mkdir(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{socket, directory, pipe} { // and devices, which a test must not lose
		if err := shm.Remove(path); !errors.Is(err, shm.ErrInsecure) || !shmtest.IsPathError(err, path) {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(directory, link); err != nil {
		t.Fatal(err)
	}
	if err := shm.Remove(link); err != nil {
		t.Errorf("a symbolic link: %v", err)
	}
}

func TestRemoveLeavesTheMemory(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	v := shmtest.Must(shm.NewRawValue(s, "n", int32(7)))(t)
	if err := shm.Remove(name); err != nil {
		t.Fatal(err)
	}
	again := open(t, name, nil)
	if _, ok := again.Lookup("n"); ok {
		t.Fatal("the new segment has the old one's value")
	}
	if v.Set(8); shmtest.Must(shm.NewRawValue(s, "n", int32(0)))(t).Get() != 8 {
		t.Fatal("the old segment lost its value")
	}
}

func TestAnonymousIsSealedAndGrows(t *testing.T) {
	shmtest.NeedLinux(t, "seals")
	s := shmtest.Opened(shm.Anonymous(nil))(t)
	file := shmtest.Must(s.File().Stat())(t)
	for name := range shmtest.SharedNames() {
		other, err := os.Stat(filepath.Join(shmtest.SharedDir(), name))
		if err == nil && os.SameFile(file, other) {
			t.Fatalf("it has the name %s", name)
		}
	}
	if err := s.File().Truncate(0); !errors.Is(err, syscall.EPERM) {
		t.Fatalf("truncating: %v", err)
	}
	size := s.Size()
	shmtest.Must(shm.NewRawArray[float64](s, "big", 1<<20))(t).Set(1<<20-1, 1)
	if s.Size() < size+8<<20 {
		t.Fatalf("%d bytes after growth from %d", s.Size(), size)
	}
	for _, o := range []shm.Options{{ReadOnly: true}, {MustExist: true}, {Foreign: true}} {
		if _, err := shm.Anonymous(&o); !errors.Is(err, fs.ErrInvalid) {
			t.Fatalf("%+v: %v", o, err)
		}
	}
}

// adopter attaches to the segment in descriptor 3, which it inherits. Then it answers
// "get", "set N" and "make N".
var adopter = shmtest.Helper("adopter", func(args []string) error {
	f := os.NewFile(3, "inherited")
	s, err := shm.OpenFile(f, nil)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	v, err := shm.NewRawValue(s, "n", int64(0))
	if err != nil {
		return err
	}
	return shmtest.Replies(func(words []string) (string, error) {
		switch words[0] {
		case "set":
			n, err := strconv.ParseInt(words[1], 10, 64)
			v.Set(n)
			return "set", err
		case "make":
			n, err := strconv.Atoi(words[1])
			if err != nil {
				return "", err
			}
			_, err = shm.NewRawArray[byte](s, "made by the child", n)
			return "made", err
		}
		return fmt.Sprint(v.Get()), nil
	})
})

func TestOpenFileOfAnInheritedDescriptor(t *testing.T) {
	s := shmtest.Opened(shm.Anonymous(nil))(t)
	v := shmtest.Must(shm.NewRawValue(s, "n", int64(5)))(t)
	p := shmtest.StartWithFiles(t, adopter, s.File())
	p.Do("get", "5")
	p.Do("set 6", "set")
	if v.Get() != 6 {
		t.Fatal("the child's Set is not seen")
	}
	p.Do("make 3000000", "made")
	if a := shmtest.Must(shm.NewRawArray[byte](s, "made by the child", 0))(t); a.Len() != 3_000_000 {
		t.Fatalf("length %d", a.Len())
	}
}

func TestOpenFileRefusesWhatIsNoSegment(t *testing.T) {
	dir := t.TempDir()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	closed := shmtest.Must(os.Create(filepath.Join(dir, "closed")))(t)
	closed.Close()
	text := filepath.Join(dir, "text")
	shmtest.WriteFile(t, text, []byte("some text"))
	for _, c := range []struct {
		file *os.File
		want error
	}{
		{r, shm.ErrInsecure}, {shmtest.Must(os.Open(dir))(t), shm.ErrInsecure}, {shmtest.Must(os.Open(os.DevNull))(t), shm.ErrInsecure},
		{shmtest.Must(os.Open(text))(t), shm.ErrFormat}, {closed, fs.ErrClosed}, {nil, fs.ErrInvalid},
	} {
		s, err := shm.OpenFile(c.file, &shm.Options{ReadOnly: true})
		if s != nil || !errors.Is(err, c.want) {
			t.Errorf("%v: %v, want %v", c.file, err, c.want)
		}
		var path *fs.PathError
		if !errors.As(err, &path) {
			t.Errorf("%v: %T, want a *fs.PathError", c.file, err)
		}
		if c.file != nil {
			c.file.Close()
		}
	}
}

func TestOpenFileOfAReadOnlyDescriptor(t *testing.T) {
	name := shmtest.Name(t)
	shmtest.Must(shm.NewRawValue(open(t, name, nil), "n", int16(3)))(t)
	f := shmtest.Opened(os.Open(shm.Path(name)))(t)
	if s, err := shm.OpenFile(f, nil); !errors.Is(err, fs.ErrPermission) {
		t.Fatalf("%v, %v", s, err)
	}
	s := shmtest.Opened(shm.OpenFile(f, &shm.Options{ReadOnly: true}))(t)
	if got := shmtest.Must(shm.NewRawValue(s, "n", int16(0)))(t).Get(); got != 3 {
		t.Fatalf("got %d", got)
	}
}

// Replaced tells when the name leads elsewhere, or nowhere.
func TestReplaced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "segment")
	for _, name := range []string{shmtest.Name(t), file} {
		s := open(t, name, nil)
		replaced := func(want bool) {
			t.Helper()
			if got, err := s.Replaced(); got != want || err != nil {
				t.Errorf("%s: replaced is %v, %v", name, got, err)
			}
		}
		replaced(false)
		if err := shm.Remove(name); err != nil {
			t.Fatal(err)
		}
		replaced(true)
		other := open(t, name, nil)
		replaced(true)
		if got, err := other.Replaced(); got || err != nil {
			t.Errorf("the new one: %v, %v", got, err)
		}
		s.Close()
		if _, err := s.Replaced(); !errors.Is(err, shm.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
	s := open(t, file, nil)
	if err := os.Rename(file, file+".old"); err != nil {
		t.Fatal(err)
	}
	shmtest.WriteFile(t, file, []byte("something else"))
	if got, err := s.Replaced(); !got || err != nil {
		t.Errorf("under another name: %v, %v", got, err)
	}
	anonymous := shmtest.Opened(shm.Anonymous(nil))(t)
	passed := shmtest.Opened(shm.OpenFile(anonymous.File(), nil))(t)
	for _, s := range []*shm.Segment{anonymous, passed} {
		if got, err := s.Replaced(); got || err != nil {
			t.Errorf("%q: %v, %v", s.Name(), got, err)
		}
	}
}

// WaitFor ends when the name leads to another segment, in which the value will be made, and
// not when the name is only removed.
func TestWaitForInAReplacedSegment(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	name := shmtest.Name(t)
	s := open(t, name, nil)
	if err := shm.Remove(name); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if _, err := s.WaitFor(ctx, "never"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a name: %v", err)
	}
	open(t, name, nil)
	const waiting = 3
	ended := make(chan error, waiting)
	for range waiting {
		go func() { ended <- shmtest.Error(s.WaitFor(t.Context(), "never")) }()
	}
	for range waiting {
		select {
		case err := <-ended:
			if !errors.Is(err, shm.ErrReplaced) || !strings.Contains(err.Error(), shm.Path(name)) || strings.Count(err.Error(), "shm: ") != 1 {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("WaitFor goes on")
		}
	}
}

// A segment of which Close was forgotten is collected, but nothing that is still used.
func TestForgottenClose(t *testing.T) {
	descriptors := func() int { return len(shmtest.Must(os.ReadDir("/proc/self/fd"))(t)) }
	name := shmtest.Name(t)
	kept := func() *shm.Mutex {
		s := shmtest.Must(shm.Open(name, nil))(t)
		return shmtest.Must(shm.NewMutex(s, "mu"))(t)
	}()
	lent := func() *int64 {
		s := shmtest.Must(shm.Anonymous(nil))(t)
		return shmtest.Must(shm.NewRawValue(s, "raw", int64(7)))(t).Ptr()
	}()
	before := descriptors()
	for i := range 60 {
		s := shmtest.Must(shm.Anonymous(nil))(t)
		v := shmtest.Must(shm.NewValue(s, "n", int64(1)))(t)
		v.Add(1)
		if i%2 == 0 {
			s.Lookup("n")
		}
	}
	shmtest.Eventually(t, "forgotten segments are closed", func() bool {
		runtime.GC()
		return descriptors() <= before
	})
	// Another Segment of the same file comes and goes.
	shmtest.Must(shm.Open(name, nil))(t).Close()
	for range 3 {
		runtime.GC()
		kept.Lock()
		//lint:ignore SA2001 that it can be taken is what is tested
		kept.Unlock()
		*lent++
	}
	if *lent != 10 {
		t.Error(*lent)
	}
}

// A lock that is held, and a number of a gauge that was set, outlive the Segment that was
// forgotten: this process lives.
func TestForgottenWhileHeld(t *testing.T) {
	for what, hold := range map[string]func(*shm.Segment){
		"lock":     func(s *shm.Segment) { shmtest.Must(shm.NewMutex(s, "mu"))(t).Lock() },
		"any lock": func(s *shm.Segment) { shmtest.Must(shm.NewMutexes(s, "any", 3))(t).At(1).Lock() },
		"row":      func(s *shm.Segment) { shmtest.Must(shm.NewTable[[2]int64](s, "rows", 3))(t).Row(2).Mutex().Lock() },
		"gauge":    func(s *shm.Segment) { shmtest.Must(shm.NewGauge[int64](s, "level"))(t).Set(5) },
		"released": func(s *shm.Segment) {
			v := shmtest.Must(shm.NewValue(s, "n", int64(0)))(t)
			v.Add(1)
			shmtest.Must(shm.NewGauge[int64](s, "level"))(t)
			shmtest.Must(shm.NewCounter[int64](s, "count"))(t).Add(1)
		},
		"closed": func(s *shm.Segment) {
			shmtest.Must(shm.NewMutex(s, "mu"))(t).Lock()
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			name := shmtest.Name(t)
			hold(shmtest.Must(shm.Open(name, nil))(t))
			reader := shmtest.Opened(shm.Open(name, &shm.Options{ReadOnly: true}))(t)
			alive := func() bool {
				runtime.GC()
				for p := range reader.Processes() {
					if p.Alive() {
						return true
					}
				}
				return false
			}
			if what == "released" || what == "closed" {
				shmtest.Eventually(t, "nothing is held, and the lease is given back", func() bool { return !alive() })
				return
			}
			for range 5 {
				if !alive() {
					t.Fatal("the holder counts as dead")
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
}
