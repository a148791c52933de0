package sys_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"golang.org/x/sys/unix"
)

func TestIdentify(t *testing.T) {
	f, other := file(t, 12), file(t, 12)
	again := shmtest.Opened(os.Open(f.Name()))(t)
	key, size, err := sys.Identify(f, f.Name())
	if err != nil || size != 12 || shmtest.Must(sys.FileSize(f, f.Name()))(t) != 12 {
		t.Fatalf("%d bytes, %v", size, err)
	}
	if first(sys.Identify(again, f.Name()))(t) != key || first(sys.Identify(other, other.Name()))(t) == key {
		t.Fatal("a key is not that of one file")
	}
	if got := (sys.Key{Dev: 1, Ino: 1<<64 - 1}).String(); got != "1:18446744073709551615" {
		t.Fatal(got)
	}
}

func TestIdentifyRefusesWhatIsNotRegular(t *testing.T) {
	r, w, err := os.Pipe()
	check(t, err)
	defer w.Close()
	closed := file(t, 1)
	check(t, closed.Close())
	for what, c := range map[string]struct {
		file *os.File
		want error
	}{
		"pipe": {r, errs.Insecure}, "directory": {shmtest.Must(os.Open(t.TempDir()))(t), errs.Insecure},
		"device": {shmtest.Must(os.Open(os.DevNull))(t), errs.Insecure}, "closed": {closed, fs.ErrClosed},
	} {
		_, _, err1 := sys.Identify(c.file, "path")
		_, err2 := sys.FileSize(c.file, "path")
		for _, err := range []error{err1, err2, sys.CheckNamed(c.file, "path", 0o600, false)} {
			var path *fs.PathError
			if !errors.Is(err, c.want) || !errors.As(err, &path) || path.Path != "path" {
				t.Errorf("%s: %v, want %v", what, err, c.want)
			}
		}
		_ = c.file.Close()
	}
}

func TestOpenExisting(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	check(t, os.WriteFile(in("file"), []byte("text"), 0o600))
	check(t, os.Symlink(in("file"), in("link")))
	check(t, os.Mkdir(in("directory"), 0o700))
	check(t, unix.Mkfifo(in("fifo"), 0o600))
	for _, c := range []struct {
		name     string
		readOnly bool
		want     error
	}{
		{"file", false, nil}, {"file", true, nil}, {"fifo", true, nil}, {"link", false, errs.Insecure}, {"link", true, errs.Insecure},
		{"directory", false, errs.Insecure}, {"missing", false, fs.ErrNotExist}, {"missing", true, fs.ErrNotExist},
	} {
		f, err := sys.OpenExisting(in(c.name), c.readOnly)
		if !errors.Is(err, c.want) || (f == nil) != (c.want != nil) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
			continue
		}
		if f == nil {
			var path *fs.PathError
			if !errors.As(err, &path) || path.Path != in(c.name) {
				t.Errorf("%s: %#v", c.name, err)
			}
			continue
		}
		if _, err := f.WriteAt([]byte("T"), 0); c.name == "file" && (err == nil) == c.readOnly {
			t.Errorf("read-only %v: %v", c.readOnly, err)
		}
		check(t, f.Close())
	}
}

func TestCheckNamed(t *testing.T) {
	for what, c := range map[string]struct {
		mode   fs.FileMode // that Options.Mode asks for
		change func(path string) error
		want   error
	}{
		"own":               {0o600, func(string) error { return nil }, nil},
		"read by all":       {0o600, func(path string) error { return os.Chmod(path, 0o644) }, nil},
		"written by all":    {0o600, func(path string) error { return os.Chmod(path, 0o666) }, errs.Insecure},
		"written as asked":  {0o666, func(path string) error { return os.Chmod(path, 0o666) }, nil},
		"written by others": {0o660, func(path string) error { return os.Chmod(path, 0o602) }, errs.Insecure},
		"two names":         {0o600, func(path string) error { return os.Link(path, path+"2") }, errs.Insecure},
		"no name":           {0o600, os.Remove, fs.ErrNotExist},
		"another user's":    {0o600, func(path string) error { return os.Chown(path, 12345, 12345) }, errs.Insecure},
		"readers are asked": {0o640, func(path string) error { return os.Chown(path, 12345, 12345) }, errs.Insecure},
		"writers are asked": {0o606, func(path string) error { return os.Chown(path, 12345, 12345) }, nil},
	} {
		f := file(t, 1)
		check(t, f.Chmod(0o600))
		if err := c.change(f.Name()); errors.Is(err, fs.ErrPermission) {
			t.Logf("%s: left out, since it needs root", what)
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		err := sys.CheckNamed(f, f.Name(), c.mode, false)
		var path *fs.PathError
		if !errors.Is(err, c.want) || err != nil && (!errors.As(err, &path) || path.Path != f.Name()) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
}

func TestRemove(t *testing.T) {
	f := file(t, 1)
	check(t, sys.Remove(f.Name()))
	err := sys.Remove(f.Name())
	var path *fs.PathError
	if !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &path) || path.Path != f.Name() {
		t.Fatalf("%#v", err)
	}
	if size := shmtest.Must(sys.FileSize(f, f.Name()))(t); size != 1 {
		t.Fatalf("%d bytes", size)
	}
}

func TestCloseAfter(t *testing.T) {
	f, cause := file(t, 1), errors.New("cause")
	if err := sys.CloseAfter(f, cause); err != cause {
		t.Fatalf("%#v", err)
	}
	if err := sys.CloseAfter(f, cause); !errors.Is(err, cause) || !errors.Is(err, fs.ErrClosed) {
		t.Fatalf("%#v", err)
	}
}
