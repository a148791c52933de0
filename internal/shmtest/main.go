// Package shmtest has what the tests of this module share: other processes to
// test with, names of segments, and the programs and permissions that some
// tests need.
//
// A test binary that starts processes has a TestMain that calls [Main]. Each
// process that it starts is the same test binary again: an environment variable
// names a helper, which is a function that was registered with [Helper]. A
// helper talks to the test by lines on its standard input and output, see
// [Process] and [Replies].
//
// Whatever a machine may lack, such as a compiler or root's rights, is asked for
// by a function that skips the test and says why.
//
// The package imports sys and race of this module. It does not import shm, so
// that the tests inside package shm can import it.
package shmtest

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/shm/internal/race"
	"example.org/shm/internal/sys"
)

const (
	// HelperVariable is the environment variable that names the helper to run.
	HelperVariable = "SHM_TEST_HELPER"

	// runnerVariable has the words of a command that runs the test binary, such as
	// qemu-aarch64 if it is a binary for another architecture.
	runnerVariable = "SHM_TEST_RUNNER"
)

// StormLength is how long a test goes on that kills processes at random.
var StormLength = flag.Duration("storm", 3*time.Second, "how long the tests that kill processes at random go on")

// tooLong is longer than anything takes that a test waits for, unless there is
// a defect.
const tooLong = 2 * time.Minute

var helpers = map[string]func(args []string) error{}

// Helper registers a function as a helper and returns its name. It must be
// called before Main, by the declaration of a variable:
//
//	var adder = shmtest.Helper("adder", func(args []string) error { … })
//
// The process ends when the function returns. Its exit status is 1 if the
// function returned an error.
func Helper(name string, f func(args []string) error) string {
	if helpers[name] != nil {
		panic("shmtest: helper " + name + " is registered twice")
	}
	helpers[name] = f
	return name
}

// Main runs the tests, or a helper if the environment names one, and ends the
// process. The exit status is 1 if a test failed, or if a segment whose name is
// from [Name] still exists.
func Main(m *testing.M) {
	if name := os.Getenv(HelperVariable); name != "" {
		os.Exit(runHelper(name, os.Args[1:]))
	}
	before := SharedNames()
	code := m.Run()
	for name := range SharedNames() {
		if !before[name] && strings.Contains(name, namePrefix) {
			if strings.HasSuffix(name, ".old-segment") {
				// Windows keeps a removed file under this name as long as this process maps it,
				// also after Close while a value is still there for the garbage collector.
				_ = os.Remove(filepath.Join(SharedDir(), name))
				continue
			}
			fmt.Fprintf(os.Stderr, "the tests left %s in shared memory\n", name)
			code = 1
		}
	}
	if err := removeScratch(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runHelper(name string, args []string) (code int) {
	f := helpers[name]
	if f == nil {
		fmt.Fprintf(os.Stderr, "no helper is named %s\n", name)
		return 1
	}
	if err := f(args); err != nil {
		fmt.Fprintf(os.Stderr, "helper %s: %v\n", name, err)
		return 1
	}
	return 0
}

// Command returns the command that runs a helper. Tests call [Start]; a helper
// that wants to start another process in its own way calls this.
func Command(helper string, args ...string) (*exec.Cmd, error) {
	if helpers[helper] == nil {
		return nil, fmt.Errorf("no helper is named %q", helper)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...)
	if runner := strings.Fields(os.Getenv(runnerVariable)); len(runner) > 0 {
		cmd = exec.Command(runner[0], slices.Concat(runner[1:], []string{self}, args)...)
	}
	cmd.Env = append(os.Environ(), HelperVariable+"="+helper)
	if race.Enabled { // Otherwise each process sleeps for a second before it exits.
		cmd.Env = append(cmd.Env, "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	}
	return cmd, nil
}

var (
	namePrefix = fmt.Sprintf("shmtest-%d-", os.Getpid())
	nameMu     sync.Mutex
	nameCount  int
)

// Name returns the name of a segment that does not exist. If it exists when the
// test ends, it is removed.
func Name(t TB) string {
	nameMu.Lock()
	defer nameMu.Unlock()
	nameCount++
	name := fmt.Sprintf("%s%d", namePrefix, nameCount)
	t.Cleanup(func() { _ = sys.Remove(sys.Path(name)) }) // also of one that is mapped
	return name
}

// SharedDir returns the directory of the segments whose names have no slash.
func SharedDir() string { return filepath.Dir(sys.Path("x")) }

// SharedNames returns the names in that directory.
func SharedNames() map[string]bool {
	names := map[string]bool{}
	entries, err := os.ReadDir(SharedDir())
	if err != nil {
		return names // There is none on this system.
	}
	for _, e := range entries {
		names[e.Name()] = true
	}
	return names
}

// NeedLinux skips a test of what only the backend for Linux does. what says what that is.
func NeedLinux(t testing.TB, what string) {
	t.Helper()
	if sys.Backend != "linux" {
		t.Skipf("the backend %q has no %s", sys.Backend, what)
	}
}
