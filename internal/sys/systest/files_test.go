package systest_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// creator creates one name again and again, and removes it.
var creator = shmtest.Helper("creator", func(args []string) error {
	fmt.Println("ready")
	for {
		head := binary.NativeEndian.AppendUint64(nil, 7)
		f, err := sys.CreateNamed(args[0], 0o600, head, size)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(f.Close(), sys.Remove(args[0])); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
})

// A name appears with a complete file behind it, whoever is killed.
func TestPublication(t *testing.T) {
	path := sys.Path(shmtest.Name(t))
	found := 0
	for round := range 5 {
		a, b := shmtest.Start(t, creator, path), shmtest.Start(t, creator, path)
		a.Expect("ready")
		b.Expect("ready")
		for i := 0; i < 2000 && (i < 50 || found <= round); i++ {
			f, err := sys.OpenExisting(path, false)
			if err != nil {
				if !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
				continue
			}
			found++
			var head [8]byte
			n, failed := sys.FileSize(f, path)
			if _, err := f.ReadAt(head[:], 0); err != nil || failed != nil || n != size || binary.NativeEndian.Uint64(head[:]) != 7 {
				t.Fatalf("a part of a file has the name: %d bytes, %v, %v", n, head, err)
			}
			if err := sys.CheckNamed(f, path, 0o600, false); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("a new file is not trusted: %v", err)
			}
			_ = f.Close()
		}
		a.Kill()
		b.Kill()
	}
	if found == 0 {
		t.Fatal("the file was never there")
	}
	_ = sys.Remove(path)
	// The next creator takes away what the dead ones have left.
	f := shmtest.Must(sys.CreateNamed(path, 0o600, nil, size))(t)
	defer f.Close()
	if _, err := sys.CreateNamed(path, 0o600, nil, size); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second file of that name: %v", err)
	}
	for _, e := range shmtest.Must(os.ReadDir(filepath.Dir(path)))(t) {
		if strings.HasPrefix(e.Name(), "."+filepath.Base(path)) {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}

// A file without a name can be mapped, and is no other's.
func TestAnonymous(t *testing.T) {
	before := shmtest.SharedNames()
	f := shmtest.Opened(sys.CreateAnonymous([]byte("head"), size))(t)
	b := shmtest.Must(sys.Map(f, size, false))(t)
	if string(b[:4]) != "head" || b[size-1] != 0 {
		t.Error("it has other bytes")
	}
	for name := range shmtest.SharedNames() {
		if sys.Backend == "windows" {
			break // it has a name until it is closed, of which nothing says what it is
		}
		if !before[name] && strings.Contains(name, "anonymous") {
			t.Errorf("it has the name %s", name)
		}
	}
	if err := sys.Unmap(b); err != nil {
		t.Error(err)
	}
}

// Reserved bytes are there, in the mappings of all processes.
func TestReservationAndMapping(t *testing.T) {
	s := file(t)
	p := s.start(t)
	p.Do("store 3 77", "done")
	if n := s.word(3).Load(); n != 77 {
		t.Errorf("the store of another process: %d", n)
	}
	var b [4]byte
	if _, err := s.f.ReadAt(b[:], 64*4); err != nil || binary.NativeEndian.Uint32(b[:]) != 77 {
		t.Errorf("a read of the file has %v, %v", b, err)
	}
	const grown = 1 << 20
	p.Do(fmt.Sprintf("grow %d", grown), "done")
	if n := shmtest.Must(sys.FileSize(s.f, s.path))(t); n < grown {
		t.Fatalf("the file has %d bytes", n)
	}
	for i := size; i < grown; i += 4096 {
		if s.b[i] != 0 {
			t.Fatalf("byte %d is %d", i, s.b[i])
		}
		s.b[i] = 1
	}
	if err := sys.Flush(s.b[:grown]); err != nil {
		t.Error(err)
	}
}

// What another user could have put there, or could change, is refused.
func TestTrust(t *testing.T) {
	s := file(t)
	check := func(mode fs.FileMode) error { return sys.CheckNamed(s.f, s.path, mode, false) }
	if err := check(0o600); err != nil {
		t.Error(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(s.path, link); err == nil {
		if f, err := sys.OpenExisting(link, false); !errors.Is(err, errs.Insecure) {
			t.Errorf("a link is followed: %v, %v", f, err)
		}
	}
	if f, err := sys.OpenExisting(t.TempDir(), true); err == nil {
		if _, _, err := sys.Identify(f, "directory"); !errors.Is(err, errs.Insecure) {
			t.Errorf("a directory is a file: %v", err)
		}
		_ = f.Close()
	}
	socket := filepath.Join(shmtest.SharedDir(), shmtest.Name(t)+"s")
	if l, err := net.Listen("unix", socket); err == nil {
		if f, err := sys.OpenExisting(socket, false); sys.Backend != "windows" && !errors.Is(err, errs.Insecure) {
			t.Errorf("a socket is a file: %v, %v", f, err)
		}
		_ = l.Close()
	}
	if err := os.Chmod(s.path, 0o622); err == nil {
		if st, err := os.Stat(s.path); err == nil && st.Mode().Perm() == 0o622 {
			if err := check(0o600); !errors.Is(err, errs.Insecure) {
				t.Errorf("all may write: %v", err)
			}
		}
	}
	if err := sys.Remove(s.path); err != nil {
		t.Fatal(err)
	}
	if err := check(0o622); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its name was removed: %v", err)
	}
}

// Two descriptors have one key if they are of one file.
func TestIdentity(t *testing.T) {
	s, other := file(t), shmtest.Must(create(sys.Path(shmtest.Name(t)+"2"), 0o600))(t)
	t.Cleanup(func() { _ = sys.Remove(other.path) })
	key := func(f *os.File) sys.Key {
		k, _, err := sys.Identify(f, f.Name())
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	again := shmtest.Opened(sys.OpenExisting(s.path, true))(t)
	same := shmtest.Opened(sys.Duplicate(s.f, false))(t)
	if k := key(s.f); k != key(again) || k != key(same) || k != key(s.locks) || k == key(other.f) {
		t.Errorf("keys %v, %v, %v, %v, another file %v", k, key(again), key(same), key(s.locks), key(other.f))
	}
	if _, err := sys.Duplicate(again, false); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a descriptor for reading is duplicated for writing: %v", err)
	}
}
