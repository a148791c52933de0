package segments

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"example.org/shm"
)

// TestNames puts files of all kinds beside a segment. Only the segment is listed.
func TestNames(t *testing.T) {
	prefix := filepath.Join(Dir, "shm-names-test-")
	made := func(name string) string {
		path := prefix + name
		t.Cleanup(func() { _ = os.Remove(path) })
		return path
	}
	s, err := shm.Open(made("segment"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := syscall.Mkfifo(made("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(prefix+"segment", made("link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(made("directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(made("text"), []byte("no segment, and longer than its magic"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mknod(made("device"), syscall.S_IFCHR|0o600, 1<<8|5); err != nil { // /dev/zero
		t.Log("no device: ", err)
	}
	names, _, err := Names()
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, "shm-names-test-") })
	if !slices.Equal(names, []string{"shm-names-test-segment"}) {
		t.Errorf("the names are %q", names)
	}
	for _, name := range []string{"fifo", "link", "directory", "device", "text", "nothing"} {
		s, err := Look(prefix + name)
		if err == nil {
			s.Close()
			t.Errorf("%s is a segment", name)
		}
	}
}

// TestReplaced moves another file to the name of a segment, and removes it.
func TestReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "segment")
	s, err := shm.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	for _, mode := range []os.FileMode{0o600, 0o622} { // of the second shm.Open does not trust the mode
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		s, err := Look(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := Replaced(s, path); err != nil {
			t.Errorf("mode %o, as it was: %v", mode, err)
		}
		if err := os.Rename(path, path+"-old"); err != nil {
			t.Fatal(err)
		}
		if err := Replaced(s, path); !errors.Is(err, shm.ErrReplaced) {
			t.Errorf("mode %o, removed: %v", mode, err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Replaced(s, path); !errors.Is(err, shm.ErrReplaced) {
			t.Errorf("mode %o, replaced: %v", mode, err)
		}
		s.Close()
		if err := os.Rename(path+"-old", path); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReadDump refuses what is no dump.
func TestReadDump(t *testing.T) {
	if _, err := ReadDump(strings.NewReader(`{"schema":1,"values":[]}`)); err != nil {
		t.Error(err)
	}
	if _, err := ReadDump(strings.NewReader(`{"schema":2}`)); !errors.Is(err, shm.ErrVersion) {
		t.Errorf("another schema: %v", err)
	}
	for _, text := range []string{`{"schema":1,"values":[{"name":"a","value":1}`, `{"schema":1,"values":[]}{`, `{"schema":1,"segments":[]}`, "", "{", "[]", "\x93SHM"} {
		if _, err := ReadDump(strings.NewReader(text)); !errors.Is(err, os.ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestDumpOfWhatIsCutOff dumps a segment of whose file another program has cut off values.
func TestDumpOfWhatIsCutOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "segment")
	s, err := shm.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := shm.NewRawArray[uint8](s, "large", 1<<20); err != nil {
		t.Fatal(err)
	}
	look, err := Look(path)
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close()
	if err := os.Truncate(path, 512<<10); err != nil {
		t.Fatal(err)
	}
	if d, err := DumpOf(look); !errors.Is(err, shm.ErrFormat) || len(d.Values) != 1 {
		t.Errorf("%v, %v", d.Values, err)
	}
}
