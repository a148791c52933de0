//go:build linux && !shmportable

package sys_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

const created = 64 << 10 // bytes of the files that these tests create

var header = []byte("all of the header")

// complete ends the test unless f is as a create function leaves it.
func complete(t *testing.T, f *os.File) {
	t.Helper()
	b := make([]byte, created+1)
	n, _ := f.ReadAt(b, 0)
	if n != created || !bytes.HasPrefix(b, header) || !bytes.Equal(b[len(header):created], make([]byte, created-len(header))) {
		t.Fatalf("%d bytes that start with %q", n, b[:len(header)])
	}
	if n := blocks(t, f); n < created {
		t.Fatalf("%d bytes are allocated", n)
	}
}

func TestCreateNamed(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	for _, dir := range []string{t.TempDir(), shmtest.Must(os.MkdirTemp("/dev/shm", "systest"))(t)} {
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "segment")
		f := shmtest.Must(sys.CreateNamed(path, 0o624, header, created))(t)
		defer f.Close()
		complete(t, f)
		named := shmtest.Must(os.Open(path))(t)
		defer named.Close()
		complete(t, named)
		if mode := shmtest.Must(named.Stat())(t).Mode(); mode != 0o624 || f.Name() != path {
			t.Fatalf("mode %v of %s", mode, f.Name())
		}
	}
}

func TestCreateNamedRefusesAnExistingName(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "segment")
	check(t, os.WriteFile(path, []byte("old"), 0o600))
	check(t, os.Symlink("nowhere", filepath.Join(dir, "link")))
	for _, c := range []struct {
		name string
		want error
	}{{"segment", fs.ErrExist}, {"link", fs.ErrExist}, {"missing/segment", fs.ErrNotExist}} {
		f, err := sys.CreateNamed(filepath.Join(dir, c.name), 0o600, header, created)
		var pathError *fs.PathError
		if f != nil || !errors.Is(err, c.want) || !errors.As(err, &pathError) || pathError.Path != filepath.Join(dir, c.name) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if b := shmtest.Must(os.ReadFile(path))(t); string(b) != "old" {
		t.Fatalf("it has become %q", b)
	}
	if entries := shmtest.Must(os.ReadDir(dir))(t); len(entries) != 2 {
		t.Fatalf("%d names are there: %v", len(entries), entries)
	}
}

// TestCreateNamedTogether: of those who create one name at once one succeeds, and
// nobody sees a file that is not complete.
func TestCreateNamedTogether(t *testing.T) {
	for range 20 {
		path := filepath.Join(t.TempDir(), "segment")
		var all sync.WaitGroup
		files := make(chan *os.File, 10)
		for range 4 {
			all.Go(func() {
				f, err := sys.CreateNamed(path, 0o600, header, created)
				if err == nil {
					files <- f
				} else if !errors.Is(err, fs.ErrExist) {
					t.Error(err)
				}
			})
		}
		var seen *os.File
		shmtest.Eventually(t, "the name", func() (ok bool) {
			f, err := sys.OpenExisting(path, true)
			seen = f
			return err == nil
		})
		complete(t, seen)
		all.Wait()
		close(files)
		if len(files) != 1 {
			t.Fatalf("%d created it", len(files))
		}
		f := <-files
		if first(sys.Identify(f, path))(t) != first(sys.Identify(seen, path))(t) {
			t.Fatal("the name leads to another file")
		}
		check(t, errors.Join(f.Close(), seen.Close()))
	}
}

// A temporary name becomes the real one, or stays if that exists.
func TestRenameATemporaryName(t *testing.T) {
	dir := t.TempDir()
	temp, path := filepath.Join(dir, "temp"), filepath.Join(dir, "segment")
	for _, want := range []error{nil, fs.ErrExist} {
		f := shmtest.Opened(os.Create(temp))(t)
		if linked, err := sys.Rename(temp, path); linked || !errors.Is(err, want) {
			t.Fatalf("%v, %v, want %v", linked, err, want)
		}
		if (want == nil) != (first(sys.Identify(f, path))(t) == key(t, path)) {
			t.Fatalf("after %v the name leads elsewhere", want)
		}
	}
	if entries := shmtest.Must(os.ReadDir(dir))(t); len(entries) != 2 {
		t.Fatalf("%d names are there: %v", len(entries), entries)
	}
}

// key returns the identity of the file that a name leads to.
func key(t *testing.T, path string) sys.Key {
	t.Helper()
	f := shmtest.Must(os.Open(path))(t)
	defer f.Close()
	return first(sys.Identify(f, path))(t)
}

func TestCreateAnonymous(t *testing.T) {
	f := shmtest.Opened(sys.CreateAnonymous(header, created))(t)
	complete(t, f)
	if err := f.Truncate(created - 1); !errors.Is(err, fs.ErrPermission) {
		t.Fatalf("it shrinks: %v", err)
	}
	check(t, sys.Reserve(f, f.Name(), created, 2*created))
	if size := shmtest.Must(sys.FileSize(f, f.Name()))(t); size != 2*created || f.Name() != sys.AnonymousPath {
		t.Fatalf("%d bytes of %s", size, f.Name())
	}
}
