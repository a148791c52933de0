//go:build windows

package sys_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"golang.org/x/sys/windows"
)

func TestPathOnWindows(t *testing.T) {
	for _, name := range []string{`C:\dir\x`, `C:x`, `dir\x`, `dir/x`, `\\host\share\x`, `\\?\C:\x`} {
		if got := sys.Path(name); got != name {
			t.Errorf("%q: %q", name, got)
		}
		check(t, sys.CheckName(name))
	}
	if got, want := sys.Path("board"), filepath.Join(os.TempDir(), "shm", "board"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestCheckNameOnWindows(t *testing.T) {
	for _, name := range []string{"a", "..x", "ü", `.\a`, `..\a`, `/a/./b`, "console", "com10", "COM", "nul_", strings.Repeat("n", 255), `C:\dir\` + strings.Repeat("é", 255)} {
		if err := sys.CheckName(name); err != nil {
			t.Errorf("%.40q: %v", name, err)
		}
	}
	for _, name := range []string{`\\.\C:\a`, `\\.\pipe\a`, `//./pipe/a`, `\\.\a`, "", ".", "..", `\`, `C:\`, "C:", `a\`, `a\.`, `a\..`, `a\..\b`, "a\x00", "a\n", "a?", "a*b", `a"`, "a|b", "a<", "ab:stream", `C:\a:stream`,
		"a.", "a ", `dir.\a`, "CON", "con", "nul.txt", "Aux ", "com1", "LPT9.x.y", "com¹", `C:\dir\prn`, `nul\a`, "conin$"} {
		if err := sys.CheckName(name); !errors.Is(err, fs.ErrInvalid) || errors.Is(err, syscall.ENAMETOOLONG) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{strings.Repeat("n", 256), `C:\dir\` + strings.Repeat("é", 256), strings.Repeat(`\nnnnnnn`, 5000)} {
		if err := sys.CheckName(name); !errors.Is(err, fs.ErrInvalid) || !errors.Is(err, syscall.ENAMETOOLONG) {
			t.Errorf("%.40q: %v", name, err)
		}
	}
}

func TestCreateOnWindows(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "segment")
	left := filepath.Join(dir, ".segment.0badcafe.new-segment")
	shmtest.WriteFile(t, left, nil)
	f := shmtest.Opened(sys.CreateNamed(path, 0o600, []byte("header"), 100_000))(t)
	b := shmtest.Must(os.ReadFile(path))(t)
	if want := append([]byte("header"), make([]byte, 100_000-6)...); !bytes.Equal(b, want) {
		t.Errorf("%d bytes, %.10q", len(b), b)
	}
	check(t, sys.CheckNamed(f, path, 0o600, false))
	if _, err := sys.CreateNamed(path, 0o600, nil, 4096); !errors.Is(err, fs.ErrExist) || !shmtest.IsPathError(err, path) {
		t.Errorf("an existing name: %v", err)
	}
	remote := `\\computer.invalid\share\segment`
	if _, err := sys.CreateNamed(remote, 0o600, nil, 4096); !errors.Is(err, errors.ErrUnsupported) || !shmtest.IsPathError(err, remote) || !strings.Contains(err.Error(), "network drive") {
		t.Errorf("on another computer: %v", err)
	}
	if _, err := sys.CreateNamed(filepath.Join(dir, "none", "x"), 0o600, nil, 4096); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	entries := shmtest.Must(os.ReadDir(dir))(t)
	if len(entries) != 1 {
		t.Errorf("%v is left in the directory", entries)
	}
	deep := filepath.Join(dir, strings.Repeat("d", 120), strings.Repeat("e", 120))
	check(t, os.MkdirAll(deep, 0o700))
	long := filepath.Join(deep, strings.Repeat("f", 120))
	shmtest.Opened(sys.CreateNamed(long, 0o600, []byte("header"), 4096))(t)
	again := shmtest.Opened(sys.OpenExisting(long, false))(t)
	check(t, sys.CheckNamed(again, long, 0o600, false))
}

// The names beside a file are none that Windows refuses, and are found by whatever case
// the file is called.
func TestBesideOnWindows(t *testing.T) {
	emoji := "\U0001f600" // two units of UTF-16
	for _, base := range []string{"board", strings.Repeat("n", 255), strings.Repeat("é", 255), strings.Repeat(emoji, 127), "n" + strings.Repeat(emoji, 127), "a.(b)[c"} {
		beside := sys.BesideName(base)
		if units := utf16.Encode([]rune(beside)); len(units) > 255 || !utf8.ValidString(beside) {
			t.Errorf("%.20q: %q has %d units", base, beside, len(units))
		}
		if strings.ContainsRune(beside, utf8.RuneError) {
			t.Errorf("%.20q: %q has a part of a character", base, beside)
		}
		if len(beside) > 255 {
			continue // a file of Linux, which wine makes of it, has at most 255 bytes
		}
		dir := t.TempDir()
		left, other := filepath.Join(dir, beside), filepath.Join(dir, beside[:len(beside)-1])
		shmtest.WriteFile(t, left, nil)
		shmtest.WriteFile(t, other, nil)
		sys.RemoveAbandoned(filepath.Join(dir, strings.ToUpper(base)))
		if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%.20q: %v is still there: %v", base, left, err)
		}
		if _, err := os.Stat(other); err != nil {
			t.Errorf("%.20q: a stranger's file is gone: %v", base, err)
		}
	}
}

// Errors of Windows whose texts do not say what to do.
func TestExplainedErrors(t *testing.T) {
	for err, want := range map[error]struct {
		is   error
		text string
	}{
		windows.ERROR_DISK_FULL:         {syscall.ENOSPC, "make room"},
		windows.ERROR_HANDLE_DISK_FULL:  {syscall.ENOSPC, "make room"},
		windows.ERROR_SHARING_VIOLATION: {windows.ERROR_SHARING_VIOLATION, "virus scanner"},
		windows.ERROR_WRITE_PROTECT:     {fs.ErrPermission, "write-protected"},
		windows.ERROR_DELETE_PENDING:    {fs.ErrNotExist, "being removed"},
	} {
		if got := sys.Explained(err); !errors.Is(got, want.is) || !errors.Is(got, err) || !strings.Contains(got.Error(), want.text) {
			t.Errorf("%v: %v", err, got)
		}
	}
}

func TestOpenOnWindows(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if _, err := sys.OpenExisting(path, false); !errors.Is(err, fs.ErrNotExist) || !shmtest.IsPathError(err, path) {
		t.Errorf("no file: %v", err)
	}
	if _, err := sys.OpenExisting(dir, false); !errors.Is(err, errs.Insecure) || !shmtest.IsPathError(err, dir) {
		t.Errorf("a directory: %v", err)
	}
	shmtest.WriteFile(t, path, []byte("x"))
	// As a virus scanner has it.
	name := shmtest.Must(windows.UTF16PtrFromString(path))(t)
	h := shmtest.Must(windows.CreateFile(name, windows.GENERIC_READ, 0, nil, windows.OPEN_EXISTING, 0, 0))(t)
	if _, err := sys.OpenExisting(path, false); !errors.Is(err, windows.ERROR_SHARING_VIOLATION) || !strings.Contains(err.Error(), "virus scanner") {
		t.Errorf("a file that another program keeps for itself: %v", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = windows.CloseHandle(h) })
	shmtest.Opened(sys.OpenExisting(path, false))(t)
}

func TestRemoveOnWindows(t *testing.T) {
	s := newSegment(t)
	path := s.file.Name()
	s.memory[100] = 7
	check(t, sys.Remove(path))
	if _, err := sys.OpenExisting(path, false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Remove: %v", err)
	}
	next := shmtest.Opened(sys.CreateNamed(path, 0o600, []byte("another"), 4096))(t)
	old, _, err := sys.Identify(s.file, path)
	check(t, err)
	if key, _, err := sys.Identify(next, path); err != nil || key == old {
		t.Errorf("the next file is %v, %v, and the removed one was %v", key, err, old)
	}
	if s.memory[100] != 7 {
		t.Error("the removed segment has lost its memory")
	}
	check(t, next.Close())
	check(t, sys.Remove(path))
	if err := sys.Remove(path); !errors.Is(err, fs.ErrNotExist) || !shmtest.IsPathError(err, path) {
		t.Errorf("nothing to remove: %v", err)
	}
}

func TestMapOnWindows(t *testing.T) {
	s := newSegment(t)
	other := mapped(t, shmtest.Opened(sys.OpenExisting(s.file.Name(), false))(t))
	check(t, sys.Reserve(s.file, s.file.Name(), 4096, 3<<20))
	s.memory[2<<20] = 5
	if other.memory[2<<20] != 5 {
		t.Error("another mapping does not see a store")
	}
	var b [1]byte
	if _, err := other.file.ReadAt(b[:], 2<<20); err != nil || b[0] != 5 {
		t.Errorf("a read of the file sees %d, %v", b, err)
	}
	check(t, sys.Flush(s.memory[:3<<20]))
	reader := shmtest.Opened(sys.ReopenToRead(s.file, s.file.Name()))(t)
	view := shmtest.Must(sys.Map(reader, segmentSize, true))(t)
	if view[2<<20] != 5 {
		t.Error("a mapping for reading does not see a store")
	}
	check(t, sys.Unmap(view))
	if err := sys.Unmap(view); err == nil {
		t.Error("unmapped twice")
	}
}

func TestLocksOnWindows(t *testing.T) {
	const lease = 1<<62 + 77
	s := newSegment(t)
	p := startPeer(t, s)
	for _, off := range []int64{0, lease} {
		p.Do(fmt.Sprint("lock ", off), "true")
		if got, err := sys.TryLock(s.file, off); got || err != nil {
			t.Errorf("byte %d is locked twice, %v", off, err)
		}
		if locked, err := sys.Locked(s.file, off, 1); !locked || err != nil {
			t.Errorf("byte %d looks free, %v", off, err)
		}
	}
	if _, err := s.file.WriteAt([]byte{1}, 0); err != nil {
		t.Errorf("the data cannot be written: %v", err)
	}
	if at, n, err := sys.LockedRange(s.file, 1<<62, 1<<30); at != lease || n != 1 || err != nil {
		t.Errorf("%d bytes at %d, %v", n, at, err)
	}
	own := shmtest.Opened(sys.Reopen(s.file, s.file.Name()))(t)
	if got, err := sys.TryLock(own, lease+1); !got || err != nil {
		t.Fatal(err)
	}
	if locked, err := sys.Locked(s.file, lease+1, 1); !locked || err != nil {
		t.Error("a lock of this process is not seen through another file")
	}
	p.Kill()
	shmtest.Eventually(t, "the locks of a killed process are gone", func() bool {
		locked, err := sys.Locked(s.file, lease, 1)
		return !locked && err == nil
	})
	check(t, sys.WaitLock(s.file, 0))
	sys.Unlock(s.file, 0)
	check(t, sys.CloseLocks(own))
	if at, n, err := sys.LockedRange(s.file, 1<<62, 1<<30); n != 0 || err != nil {
		t.Errorf("%d bytes at %d, %v", n, at, err)
	}
}

// A file that has a lock and is closed in another way than by CloseLocks has none any more,
// and stays in no table.
func TestClosedWithLocks(t *testing.T) {
	s := newSegment(t)
	const lease = 1<<62 + 7
	closed := shmtest.Must(sys.Reopen(s.file, s.file.Name()))(t)
	if got, err := sys.TryLock(closed, lease); !got || err != nil {
		t.Fatal(got, err)
	}
	check(t, closed.Close())
	if got, err := sys.TryLock(closed, lease); got || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("a closed file has its lock still: %v, %v", got, err)
	}
	if locked, err := sys.Locked(closed, lease, 1); !locked || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("asking through a closed file: %v, %v", locked, err)
	}
	if locked, err := sys.Locked(s.file, lease, 1); locked || err != nil {
		t.Errorf("the byte is locked: %v, %v", locked, err)
	}
	before := sys.FilesWithLocks()
	func() {
		lost := shmtest.Must(sys.Reopen(s.file, s.file.Name()))(t)
		if got, err := sys.TryLock(lost, lease); !got || err != nil {
			t.Fatal(got, err)
		}
	}()
	closed = nil
	shmtest.Eventually(t, "the collector closes a file, and its locks are gone", func() bool {
		runtime.GC()
		locked, err := sys.Locked(s.file, lease, 1)
		return !locked && err == nil && sys.FilesWithLocks() < before
	})
}

func TestSleepOnWindows(t *testing.T) {
	s := newSegment(t)
	p := startPeer(t, s)
	for what, wake := range map[string]func(*atomic.Uint32){
		"wait":   func(w *atomic.Uint32) { sys.FutexWake(w, 1, sys.AnyBit) },
		"change": func(w *atomic.Uint32) { sys.FutexWakeChanged(w, 0) },
	} {
		w := s.word(64)
		w.Store(0)
		p.Say(what + " 64")
		time.Sleep(100 * time.Millisecond) // so that it sleeps, which makes no difference
		began := time.Now()
		w.Store(1)
		wake(w)
		p.Expect("done")
		if late := time.Since(began); late > 20*time.Second {
			t.Errorf("%s: woken after %v", what, late)
		}
	}
	if n := sys.FutexWake(s.word(64), 1, sys.AnyBit); n != 0 {
		t.Errorf("%d woken, and nobody sleeps", n)
	}
	// Back and forth.
	p.Say("pong 128")
	began, w := time.Now(), s.word(128)
	for v := uint32(0); v <= 2_000; v += 2 {
		w.Add(1)
		sys.FutexWake(w, 1, sys.AnyBit)
		for w.Load() == v+1 {
			sys.FutexWait(w, v+1, sys.AnyBit, time.Minute)
		}
	}
	p.Expect("done")
	t.Logf("%.0f hand-overs/s", 2_000/time.Since(began).Seconds())
	// In this process, by a bit.
	done := make(chan struct{})
	go func() {
		defer close(done)
		sys.FutexWaitChange(s.word(256), 0, 1<<7, time.Minute)
	}()
	for woken := 0; woken == 0; {
		sys.FutexWake(s.word(256), 100, 1<<6)
		woken = sys.FutexWake(s.word(256), 100, 1<<7)
	}
	<-done
}

func TestDeathOnWindows(t *testing.T) {
	s := newSegment(t)
	p := startPeer(t, s)
	d := sys.WatchPid(p.Pid(), sys.PidNamespace())
	if d == nil {
		t.Fatal("it cannot be watched")
	}
	defer d.Close()
	if d.Wait(10 * time.Millisecond) {
		t.Error("a process that lives has exited")
	}
	exited := make(chan bool)
	go func() { exited <- d.Exited() }()
	p.Kill()
	if !<-exited || !d.Wait(time.Minute) {
		t.Error("the exit is not told")
	}
	own := sys.WatchPid(os.Getpid(), sys.PidNamespace())
	time.AfterFunc(10*time.Millisecond, own.Close)
	if own.Exited() {
		t.Error("this process has exited")
	}
	if sys.WatchPid(os.Getpid(), 0) != nil {
		t.Error("a pid of no namespace is watched")
	}
}
