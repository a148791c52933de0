//go:build linux && !shmportable

package sys_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"golang.org/x/sys/unix"
)

func TestProcess(t *testing.T) {
	if got := sys.Program(); got != filepath.Base(os.Args[0]) || got == "" {
		t.Errorf("Program: %q", got)
	}
	if _, err := os.Stat("/proc/sys/kernel/random/boot_id"); errors.Is(err, fs.ErrNotExist) {
		t.Skip("no /proc")
	}
	if id := sys.BootID(); len(id) < 30 || !strings.HasSuffix(id, "\n") || id != sys.BootID() {
		t.Errorf("BootID: %q", id)
	}
	if ns := sys.PidNamespace(); ns != shmtest.Must(os.Stat("/proc/self/ns/pid"))(t).Sys().(*syscall.Stat_t).Ino {
		t.Errorf("PidNamespace: %d", ns)
	}
}

func TestMonotonicIsTheClockOfTheSystem(t *testing.T) {
	// The reading at the start is some way between two others.
	const slack = int64(time.Second)
	var before, after unix.Timespec
	check(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &before))
	first, second := sys.Monotonic(), sys.Monotonic()
	check(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &after))
	if first < before.Nano()-slack || second < first || second > after.Nano()+slack {
		t.Fatalf("%d, %d, %d, %d", before.Nano(), first, second, after.Nano())
	}
}

// idle lives until it is killed.
var idle = shmtest.Helper("idle", func([]string) error { select {} })

func TestWatchPid(t *testing.T) {
	p := shmtest.Start(t, idle)
	pid, ns := p.Pid(), sys.PidNamespace()
	death := sys.WatchPid(pid, ns)
	if death == nil {
		t.Skip("no pidfds here")
	}
	defer death.Close()
	if death.Wait(time.Millisecond) {
		t.Fatal("it lives")
	}
	p.Signal(os.Kill)
	for range 2 {
		if !death.Wait(forEver) {
			t.Fatal("it is dead")
		}
	}
	p.Kill()
	for what, d := range map[string]*sys.Death{
		"unknown namespace": sys.WatchPid(os.Getpid(), 0), "another namespace": sys.WatchPid(os.Getpid(), ns+1),
		"pid 0": sys.WatchPid(0, ns), "negative": sys.WatchPid(-1, ns), "nobody": sys.WatchPid(1<<30, ns),
	} {
		if d != nil {
			t.Errorf("%s: it is watched", what)
		}
	}
	death.Close()
	if death.Wait(time.Millisecond) {
		t.Error("it is watched after Close")
	}
	death = nil
	if death.Wait(time.Millisecond) {
		t.Error("nobody is watched")
	}
	death.Close()
}

func TestReclaim(t *testing.T) {
	if sys.Reclaim() {
		t.Fatal("there is nothing to reclaim")
	}
	sys.MappingIdle(1)
	defer sys.MappingIdle(-1)
	// It is too large to share a block, and so its end, with other objects.
	runtime.AddCleanup(new([100]int), func(int) { sys.MappingReleased() }, 0)
	shmtest.Eventually(t, "it is reclaimed", sys.Reclaim)
	// The collector gets nothing back now, and Reclaim says so.
	if sys.Reclaim() {
		t.Fatal("there is nothing left")
	}
}

// runOutOfDescriptors opens a file again and again under a limit that only the
// collector keeps it from.
var runOutOfDescriptors = shmtest.Helper("runOutOfDescriptors", func(args []string) error {
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 32, Max: 32}); err != nil {
		return err
	}
	// Its own cleanup closes the descriptor, as a mapping's does.
	for i := range 200 {
		f, err := sys.OpenExisting(args[0], false)
		if err != nil {
			return fmt.Errorf("file %d: %w", i, err)
		}
		runtime.AddCleanup(new([100]int), func(f *os.File) {
			_ = f.Close()
			sys.MappingReleased()
		}, f)
		sys.MappingIdle(1)
	}
	sys.MappingIdle(-200)
	// A cleanup of the collector may still close one of the last files.
	for tries := 0; ; tries++ {
		var full error
		for full == nil {
			_, full = unix.Open(args[0], unix.O_RDONLY, 0)
		}
		if !sys.OutOfDescriptors(full) || sys.OutOfMemory(full) || !sys.OutOfMemory(&fs.PathError{Err: unix.ENOMEM}) {
			return full
		}
		if _, err := sys.OpenExisting(args[0], false); sys.OutOfDescriptors(err) {
			return nil
		} else if tries > 200 {
			return fmt.Errorf("nothing is idle, and the error is %v", err)
		}
	}
})

func TestDescriptorsAreReclaimed(t *testing.T) {
	shmtest.Start(t, runOutOfDescriptors, file(t, 1).Name()).Wait()
}
