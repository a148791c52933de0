package trace

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sections are what a child can run. It maps the file that is its descriptor 3.
var sections = map[string]func(b []byte){
	"two": func(b []byte) { b[5] = 1; b[5000] = 2 },
	"sleeps": func(b []byte) {
		b[5] = 1
		time.Sleep(time.Hour)
	},
	"spins": func(b []byte) {
		for sum := byte(0); ; sum += b[5] {
			runtime.Gosched()
		}
	},
	"exits": func(b []byte) { os.Exit(4) },
}

const variable = "SHM_TRACE_SECTION"

func TestMain(m *testing.M) {
	name, ok := os.LookupEnv(variable)
	if !ok {
		os.Exit(m.Run())
	}
	b, err := syscall.Mmap(3, 0, 8192, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	Begin()
	sections[name](b)
	End()
}

// run traces a section, and returns its stores.
func run(t *testing.T, name string, more func(n int) bool) (stores []Store, err error) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(8192); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.ExtraFiles = []*os.File{f}
	cmd.Env = append(os.Environ(), variable+"="+name)
	err = Section(cmd, f, func(s Store) bool {
		stores = append(stores, s)
		return more(len(stores))
	})
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	return stores, err
}

func always(int) bool { return true }

func TestSection(t *testing.T) {
	stores, err := run(t, "two", always)
	if err != nil || len(stores) != 3 {
		t.Fatalf("%d stores, %v", len(stores), err)
	}
	if s := stores[0]; s.Size != 8192 || len(s.Changes) != 0 || s.Stack != nil {
		t.Errorf("before the first store: %v", s)
	}
	for i, want := range []Change{{5, []byte{1}}, {5000, []byte{2}}} {
		s := stores[i+1]
		if len(s.Changes) != 1 || s.Changes[0].Off != want.Off || string(s.Changes[0].Data) != string(want.Data) || len(s.Stack) == 0 {
			t.Errorf("store %d: %v, want %v", i+1, s, want)
		}
	}
	stores, err = run(t, "two", func(n int) bool { return n < 2 })
	if err != nil || len(stores) != 2 {
		t.Errorf("killed after the first store: %d stores, %v", len(stores), err)
	}
}

// A section that does not end is an error, whether or not it makes system calls.
func TestSectionDoesNotEnd(t *testing.T) {
	old := patience
	patience = 2 * time.Second
	defer func() { patience = old }()
	for name, want := range map[string]string{
		"sleeps": "neither ended nor stored",
		"spins":  "neither ended nor stored",
		"exits":  "exit status 4",
	} {
		if _, err := run(t, name, always); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error that says %q", name, err, want)
		}
	}
}
