//go:build windows

package shm_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"golang.org/x/sys/windows"
)

// windowsPeer is another process. Its argument is a segment's name, or "" for one that it
// inherits.
var windowsPeer = shmtest.Helper("windows peer", func(args []string) error {
	var s *shm.Segment
	var err error
	if args[0] == "" {
		s, err = shm.Inherited("", nil)
	} else {
		s, err = shm.Open(args[0], nil)
	}
	if err != nil {
		return err
	}
	n, err := shm.NewValue[int64](s, "n", 0)
	if err != nil {
		return err
	}
	mu, err := shm.NewMutex(s, "mu")
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return shmtest.Replies(func(words []string) (string, error) {
		switch words[0] {
		case "add":
			for range 300 {
				n.Update(func(x int64) int64 { return x + 1 })
			}
		case "lock":
			mu.Lock()
		case "await":
			x, err := n.Await(context.Background(), func(x int64) bool { return x == 1000 })
			return fmt.Sprint(x), err
		}
		return "done", nil
	})
})

// Several processes use a segment by its name, and one that is killed in the lock is
// replaced.
func TestProcessesOnWindows(t *testing.T) {
	for _, name := range []string{shmtest.Name(t), shm.Path(shmtest.Name(t))} {
		s := open(t, name, nil)
		n := shmtest.Must(shm.NewValue[int64](s, "n", 0))(t)
		mu := shmtest.Must(shm.NewMutex(s, "mu"))(t)
		var all []*shmtest.Process
		for range 2 {
			p := shmtest.Start(t, windowsPeer, name)
			p.Expect("ready")
			all = append(all, p)
		}
		for _, p := range all {
			p.Say("add")
		}
		for range 300 {
			n.Update(func(x int64) int64 { return x + 1 })
		}
		for _, p := range all {
			p.Expect("done")
		}
		if got := n.Load(); got != 900 {
			t.Errorf("%d additions of 900", got)
		}
		all[1].Say("await")
		all[0].Do("lock", "done")
		if mu.TryLock() {
			t.Fatal("another process has the lock")
		}
		all[0].Kill()
		began := time.Now()
		mu.Lock()
		t.Logf("a dead owner was replaced after %v", time.Since(began))
		mu.Unlock()
		n.Store(1000)
		all[1].Expect("1000")

		if err := shm.Remove(name); err != nil {
			t.Fatal(err)
		}
		if _, err := shm.Open(name, &shm.Options{MustExist: true}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after Remove: %v", err)
		}
		all[1].Do("add", "done")
		if got := n.Load(); got != 1300 {
			t.Errorf("a removed segment has %d", got)
		}
	}
}

func TestPassOnWindows(t *testing.T) {
	s := shmtest.Opened(shm.Anonymous(nil))(t)
	n := shmtest.Must(shm.NewValue[int64](s, "n", 0))(t)
	p := shmtest.StartCmd(t, windowsPeer, func(cmd *exec.Cmd) { s.Pass(cmd); s.Pass(cmd) }, "")
	p.Expect("ready")
	p.Do("add", "done")
	if got := n.Load(); got != 300 {
		t.Errorf("%d additions of 300", got)
	}
}

// windowsDir returns a new directory. It goes when the segments in it are mapped no more.
func windowsDir(t *testing.T) string {
	t.Helper()
	dir := shmtest.Must(os.MkdirTemp("", "shm"))(t)
	t.Cleanup(func() {
		shmtest.Eventually(t, "the directory can be removed", func() bool {
			runtime.GC() // the mapping of a segment is kept as long as its values
			return os.RemoveAll(dir) == nil
		})
	})
	return dir
}

// What is no name of a file is refused, by each function, and nothing is made.
func TestNamesOnWindows(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	before := shmtest.SharedNames()
	in := func(name string) string { return filepath.Join(dir, "x")[:len(dir)+1] + name }
	for _, name := range []string{
		"", "CON", "con", "nul.txt", "Aux ", "COM1", "lpt9.a.b", "conin$", in("prn"), in("nul.x"), in(`nul\a`), // devices
		"a:b:c", "ab:c", in("a:stream"), in("a::$DATA"), // streams
		"a.", "a ", "...", in("a."), in("a "), in(`a.\b`), // Windows takes the last character away
		"a.old-segment", "a.New-Segment", in("a.OLD-segment"), // temporary names
		"a?", "a*", "a<b", `a"`, "a|b", "a\x00b", "a\nb",
		`dir\`, `C:\`, "C:", ".", "..", in(`..\`), in(`..\x`), dir + "/", // directories
		`\\.\pipe\a`, `\\.\PhysicalDrive0`, `//./pipe/a`,
		strings.Repeat("n", 256), in(strings.Repeat("n", 256)),
	} {
		for what, f := range map[string]func() error{
			"Open":     func() error { return shmtest.Error(shm.Open(name, nil)) },
			"ReadOnly": func() error { return shmtest.Error(shm.Open(name, &shm.Options{ReadOnly: true})) },
			"Remove":   func() error { return shm.Remove(name) },
		} {
			if err := f(); !errors.Is(err, fs.ErrInvalid) || !shmtest.IsPathError(err, name) {
				t.Errorf("%s of %.30q: %v", what, name, err)
			}
		}
	}
	for _, e := range shmtest.Must(os.ReadDir("."))(t) {
		t.Errorf("%s was made", e.Name())
	}
	for name := range shmtest.SharedNames() {
		if !before[name] && !strings.Contains(name, "shmtest-") { // those are other tests'
			t.Errorf("%s was made in the shared directory", name)
		}
	}
}

// All ways to write the path of a file lead to one segment, in this process and in
// another one.
func TestPathsOnWindows(t *testing.T) {
	dir := windowsDir(t)
	t.Chdir(dir)
	deep := filepath.Join(dir, strings.Repeat("d", 120), strings.Repeat("e", 120))
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(deep, strings.Repeat("f", 120)) // more than the 260 that old programs have
	relative := shmtest.Must(filepath.Rel(dir, long))(t)
	board := filepath.Join(dir, "Board")
	shared := shm.Path(shmtest.Name(t))
	for _, names := range [][]string{
		{board, filepath.ToSlash(board), strings.ToUpper(board), strings.ToLower(board), `.\board`, "./BOARD", `\\?\` + board, board[:2] + "board"},
		{long, filepath.ToSlash(long), strings.ToUpper(long), relative, `\\?\` + long},
		{filepath.Base(shared), strings.ToUpper(filepath.Base(shared)), shared},
	} {
		p := shmtest.Start(t, windowsPeer, names[0])
		p.Expect("ready")
		for i, name := range names {
			s, err := shm.Open(name, &shm.Options{MustExist: true})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			n := shmtest.Must(shm.NewValue[int64](s, "n", 0))(t)
			p.Do("add", "done")
			if got := n.Load(); got != int64(i+1)*300 {
				t.Errorf("%s: %d, want %d: another segment", name, got, (i+1)*300)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		p.Kill()
		last := names[len(names)-1]
		if err := shm.Remove(last); err != nil {
			t.Error(err)
		}
		if _, err := shm.Open(names[0], &shm.Options{MustExist: true}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s, after %s was removed: %v", names[0], last, err)
		}
	}
	for _, name := range []string{`Q:\none\x`, `none\x`, "none/x"} {
		if _, err := shm.Open(name, nil); !errors.Is(err, fs.ErrNotExist) || !shmtest.IsPathError(err, name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A file that cannot be used is refused with a reason, and stays as it is.
func TestRefusedOnWindows(t *testing.T) {
	dir := windowsDir(t)
	refused := func(path string, want error, text string) {
		t.Helper()
		before, _ := os.ReadFile(path)
		s, err := shm.Open(path, nil)
		if err == nil {
			_ = s.Close()
		}
		if !errors.Is(err, want) || !shmtest.IsPathError(err, path) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, which lacks %v, %q", path, err, want, text)
		}
		after, _ := os.ReadFile(path)
		if string(after) != string(before) {
			t.Errorf("%s: changed", path)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	refused(filepath.Join(dir, "directory"), shm.ErrInsecure, "not a regular file")
	if err := shm.Remove(filepath.Join(dir, "directory")); !errors.Is(err, shm.ErrInsecure) {
		t.Errorf("a directory is removed: %v", err)
	}
	shmtest.WriteFile(t, filepath.Join(dir, "file"), []byte("a letter to somebody"))
	refused(filepath.Join(dir, "file", "x"), fs.ErrNotExist, "")

	// Another program, such as a virus scanner, shares the file with nobody.
	path := filepath.Join(dir, "segment")
	p := shmtest.Start(t, windowsPeer, path)
	p.Expect("ready")
	p.Do("add", "done")
	p.Kill()
	name := shmtest.Must(windows.UTF16PtrFromString(path))(t)
	h := shmtest.Must(windows.CreateFile(name, windows.GENERIC_READ, 0, nil, windows.OPEN_EXISTING, 0, 0))(t)
	refused(path, windows.ERROR_SHARING_VIOLATION, "virus scanner")
	if err := shm.Remove(path); !errors.Is(err, windows.ERROR_SHARING_VIOLATION) || !shmtest.IsPathError(err, path) {
		t.Errorf("Remove: %v", err)
	}
	if err := windows.CloseHandle(h); err != nil {
		t.Fatal(err)
	}

	// Without the permission to write it can be read.
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(path, 0o600) })            // what is read-only cannot be removed
	if f, err := os.OpenFile(path, os.O_RDWR, 0); err == nil { // wine, when root runs it
		_ = f.Close()
		t.Log("this system lets anybody write to a file that is read-only")
	} else {
		refused(path, fs.ErrPermission, "")
	}
	r := open(t, path, &shm.Options{ReadOnly: true})
	if n, err := shm.NewValue[int64](r, "n", 0); err != nil || n.Load() != 300 {
		t.Errorf("a file that is read-only: %v", err)
	}
	for _, e := range shmtest.Must(os.ReadDir(dir))(t) {
		if n := e.Name(); n != "directory" && n != "file" && n != "segment" {
			t.Errorf("%s is left", n)
		}
	}
}

func TestLargeOnWindows(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	b := shmtest.Must(shm.NewRawArray[byte](s, "large", 3<<20))(t)
	b.Set(3<<20-1, 7)
	if err := s.Sync(); err != nil {
		t.Error(err)
	}
}
