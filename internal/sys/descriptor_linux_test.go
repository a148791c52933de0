//go:build linux && !shmportable

package sys_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"golang.org/x/sys/unix"
)

func TestReopen(t *testing.T) {
	f := file(t, 1)
	key := first(sys.Identify(f, f.Name()))(t)
	_ = shmtest.Must(f.Seek(1, 0))(t)
	check(t, os.Remove(f.Name())) // the descriptor leads there, not the path
	again := shmtest.Opened(sys.Reopen(f, "name"))(t)
	if at := shmtest.Must(again.Seek(0, 1))(t); at != 0 || again.Name() != "name" || first(sys.Identify(again, ""))(t) != key {
		t.Fatalf("%s at %d is not a description of its own of the same file", again.Name(), at)
	}
	_ = shmtest.Must(again.WriteAt([]byte("x"), 0))(t)
	check(t, f.Close())
	var path *fs.PathError
	if g, err := sys.Reopen(f, "name"); g != nil || !errors.Is(err, fs.ErrClosed) || !errors.As(err, &path) || path.Path != "name" {
		t.Fatalf("of a closed file: %v", err)
	}
}

// reopenWithoutProc works where the system opens no descriptor anew.
var reopenWithoutProc = shmtest.Helper("reopenWithoutProc", func(args []string) error {
	f, err := os.OpenFile(filepath.Join(args[0], "file"), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Chroot(args[0]), unix.Chdir("/")); err != nil {
		return err
	}
	again, err := sys.Reopen(f, "/file")
	if err != nil {
		return err
	}
	have, _, err1 := sys.Identify(again, "/file")
	want, _, err2 := sys.Identify(f, "/file")
	if err := errors.Join(err1, err2); have != want || err != nil {
		return fmt.Errorf("%v, not %v: %w", have, want, err)
	}
	for path, want := range map[string]string{
		sys.AnonymousPath: "reopen " + sys.AnonymousPath + ": no such file or directory",
		"/missing":        "reopen /missing: no such file or directory; open /missing: no such file or directory",
		"/other":          "reopen /other: no such file or directory; the path leads to another file now",
	} {
		var pathError *fs.PathError
		if f, err := sys.Reopen(f, path); f != nil || !errors.As(err, &pathError) || err.Error() != want {
			return fmt.Errorf("%w, want %s", err, want)
		}
	}
	// The kernel links what has no name without /proc too, if it may.
	if _, err := sys.CreateNamed("/new", 0o600, header, created); err != nil {
		return err
	}
	return nil
})

func TestReopenByPath(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	for _, name := range []string{"file", "other"} {
		check(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	shmtest.Start(t, reopenWithoutProc, dir).Wait()
	f := shmtest.Opened(os.Open(filepath.Join(dir, "new")))(t)
	complete(t, f)
}

func TestDuplicate(t *testing.T) {
	f := file(t, 1)
	same := shmtest.Opened(sys.Duplicate(f, false))(t)
	_ = shmtest.Must(f.Seek(1, 0))(t)
	if at := shmtest.Must(same.Seek(0, 1))(t); at != 1 || same.Name() != f.Name() {
		t.Fatalf("%s at %d is not the same open file", same.Name(), at)
	}
	reader := shmtest.Must(os.Open(f.Name()))(t)
	var path *fs.PathError
	if g, err := sys.Duplicate(reader, false); g != nil || !errors.Is(err, fs.ErrPermission) || !errors.As(err, &path) || path.Path != f.Name() {
		t.Fatalf("a reader may write: %v", err)
	}
	check(t, shmtest.Must(sys.Duplicate(reader, true))(t).Close())
	check(t, reader.Close())
	if g, err := sys.Duplicate(reader, true); g != nil || !errors.Is(err, fs.ErrClosed) {
		t.Fatal(err)
	}
}

func TestAdopt(t *testing.T) {
	f, other := file(t, 1), file(t, 1)
	key := first(sys.Identify(f, f.Name()))(t)
	passed := shmtest.Must(unix.Dup(int(f.Fd())))(t) // which a child inherits
	own := shmtest.Opened(sys.Adopt(passed, key, "name", false))(t)
	if first(sys.Identify(own, ""))(t) != key || own.Name() != "name" {
		t.Fatalf("%s is another file", own.Name())
	}
	if flags := shmtest.Must(unix.FcntlInt(uintptr(passed), unix.F_GETFD, 0))(t); flags&unix.FD_CLOEXEC == 0 {
		t.Fatal("a child inherits the original")
	}
	check(t, unix.Close(passed))
	reader := shmtest.Opened(os.Open(f.Name()))(t)
	directory := shmtest.Opened(os.Open(filepath.Dir(f.Name())))(t)
	for what, c := range map[string]struct {
		fd   int
		key  sys.Key
		want error
	}{
		"not open": {-1, key, fs.ErrNotExist}, "another file": {int(other.Fd()), key, fs.ErrNotExist},
		"not regular": {int(directory.Fd()), keyOf(t, directory), fs.ErrNotExist}, "for reading": {int(reader.Fd()), key, fs.ErrPermission},
	} {
		if g, err := sys.Adopt(c.fd, c.key, "name", false); g != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
	check(t, shmtest.Must(sys.Adopt(int(reader.Fd()), key, "name", true))(t).Close())
}

// keyOf is Identify for files of every kind.
func keyOf(t *testing.T, f *os.File) sys.Key {
	t.Helper()
	var st unix.Stat_t
	check(t, unix.Fstat(int(f.Fd()), &st))
	return sys.Key{Dev: uint64(st.Dev), Ino: st.Ino}
}

func TestChildrenInheritNothing(t *testing.T) {
	f := file(t, 1)
	end := shmtest.Opened(sys.Send(f))(t)
	for what, made := range map[string]*os.File{
		"OpenExisting":    shmtest.Must(sys.OpenExisting(f.Name(), false))(t),
		"CreateNamed":     shmtest.Must(sys.CreateNamed(filepath.Join(t.TempDir(), "x"), 0o600, header, created))(t),
		"CreateAnonymous": shmtest.Must(sys.CreateAnonymous(header, created))(t),
		"Reopen":          shmtest.Must(sys.Reopen(f, f.Name()))(t),
		"Duplicate":       shmtest.Must(sys.Duplicate(f, false))(t),
		"Send":            shmtest.Must(sys.Send(f))(t),
		"Receive":         shmtest.Must(sys.Receive(duplicateOf(t, end), keyOf(t, f), "x"))(t),
		"Adopt":           shmtest.Must(sys.Adopt(int(f.Fd()), keyOf(t, f), "x", false))(t),
	} {
		if flags := shmtest.Must(unix.FcntlInt(made.Fd(), unix.F_GETFD, 0))(t); flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("a child inherits what %s returns", what)
		}
		check(t, made.Close())
	}
}

// A file gets no number of a standard file, in a program that has closed its own.
func TestNoStandardNumbers(t *testing.T) {
	saved := shmtest.Must(unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3))(t)
	check(t, unix.Close(0))
	defer func() {
		check(t, unix.Dup3(saved, 0, 0))
		check(t, unix.Close(saved))
	}()
	path := filepath.Join(t.TempDir(), "named")
	header := make([]byte, 64)
	named := shmtest.Opened(sys.CreateNamed(path, 0o600, header, 1<<16))(t)
	for what, open := range map[string]func() (*os.File, error){
		"CreateNamed":     func() (*os.File, error) { return sys.CreateNamed(path+"2", 0o600, header, 1<<16) },
		"CreateAnonymous": func() (*os.File, error) { return sys.CreateAnonymous(header, 1<<16) },
		"OpenExisting":    func() (*os.File, error) { return sys.OpenExisting(path, false) },
		"Reopen":          func() (*os.File, error) { return sys.Reopen(named, path) },
		"Duplicate":       func() (*os.File, error) { return sys.Duplicate(named, false) },
	} {
		f := shmtest.Must(open())(t)
		if n := f.Fd(); n < 3 {
			t.Errorf("%s: descriptor %d", what, n)
		}
		_ = f.Close()
	}
	if _, err := unix.FcntlInt(0, unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("something has descriptor 0: %v", err)
	}
}
