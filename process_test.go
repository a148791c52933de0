//go:build linux

package shm

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// Tests with several processes run this test binary again: the environment
// variable names a helper, a function of the table below, whose arguments are
// the command line's. A helper talks to its parent by lines on standard output
// and input.
const helperVariable = "SHM_TEST_HELPER"

// runnerVariable names a program that runs this test binary, such as
// qemu-aarch64 for one of another architecture.
const runnerVariable = "SHM_TEST_RUNNER"

// helpers are what a test may start as a process of its own.
var helpers = map[string]func(args []string) error{}

var stormLength = flag.Duration("storm", 3*time.Second, "how long the storms last")

// helper registers a function; a test file's variables call it.
func helper(name string, f func(args []string) error) string {
	if helpers[name] != nil {
		panic("helper " + name + " twice")
	}
	helpers[name] = f
	return name
}

func TestMain(m *testing.M) {
	if name := os.Getenv(helperVariable); name != "" {
		if err := helpers[name](os.Args[1:]); err != nil {
			fmt.Fprintf(os.Stderr, "helper %s: %v\n", name, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	before := sharedNames()
	code := m.Run()
	for name := range sharedNames() {
		if !before[name] && strings.Contains(name, testPrefix) {
			fmt.Fprintf(os.Stderr, "left in shared memory: %s\n", name)
			code = 1
		}
	}
	os.Exit(code)
}

// TestHelpersAreUsed reads the sources, since a test that would start a helper
// may be skipped on this machine.
func TestHelpersAreUsed(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil || len(files) == 0 {
		t.Skipf("no sources here: %v", err)
	}
	var sources strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		sources.Write(text)
	}
	for _, found := range regexp.MustCompile(`(?m)^var (\w+) = helper\(`).FindAllStringSubmatch(sources.String(), -1) {
		if uses := regexp.MustCompile(`\b`+found[1]+`\b`).FindAllString(sources.String(), 3); len(uses) < 3 { // a comment, the declaration, and one more
			t.Errorf("helper %s is used by no test", found[1])
		}
	}
}

var testPrefix = fmt.Sprintf("shmtest-%d-", os.Getpid())

func sharedNames() map[string]bool {
	names := map[string]bool{}
	entries, err := os.ReadDir(filepath.Dir(Path("x")))
	if err != nil {
		return names
	}
	for _, e := range entries {
		names[e.Name()] = true
	}
	return names
}

var nameCount int
var nameMu sync.Mutex

// testName returns a segment name that is removed when the test ends.
func testName(t testing.TB) string {
	t.Helper()
	nameMu.Lock()
	defer nameMu.Unlock()
	nameCount++
	name := fmt.Sprintf("%s%d", testPrefix, nameCount)
	t.Cleanup(func() { _ = Remove(name) })
	return name
}

// open opens a segment, or ends the test; it is closed when the test ends.
func open(t testing.TB, name string, o *Options) *Segment {
	t.Helper()
	s, err := Open(name, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// must ends the test for an error.
func must[T any](x T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
}

// process is a running helper.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

// start runs a helper, which is killed when the test ends.
func start(t testing.TB, name string, args ...string) *process {
	t.Helper()
	return startCmd(t, name, nil, args...)
}

// startCmd is start with a change to the command before it runs.
func startCmd(t testing.TB, name string, change func(*exec.Cmd), args ...string) *process {
	t.Helper()
	if helpers[name] == nil {
		t.Fatalf("no helper %q", name)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	if runner := os.Getenv(runnerVariable); runner != "" {
		cmd = exec.Command(runner, append([]string{self}, args...)...)
	}
	cmd.Env = append(os.Environ(), helperVariable+"="+name)
	if raceEnabled { // whose programs else sleep a second before they end
		cmd.Env = append(cmd.Env, "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	}
	cmd.Stderr = os.Stderr
	if change != nil {
		change(cmd)
	}
	return startProgram(t, cmd)
}

// startProgram starts any program, which talks as a helper does.
func startProgram(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd}
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.kill() })
	return p
}

// startWithFiles is start with files that the helper inherits from descriptor 3
// on.
func startWithFiles(t testing.TB, name string, files ...*os.File) *process {
	t.Helper()
	return startCmd(t, name, func(cmd *exec.Cmd) { cmd.ExtraFiles = files })
}

// replies answers each line of standard input by one line.
func replies(answer func(words []string) (string, error)) error {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		line, err := answer(strings.Fields(in.Text()))
		if err != nil {
			return err
		}
		fmt.Println(line)
	}
	return in.Err()
}

// line reads one line that the helper printed.
func (p *process) line() string {
	p.t.Helper()
	if !p.lines.Scan() {
		p.t.Fatalf("a helper ended without a word: %v", p.lines.Err())
	}
	return p.lines.Text()
}

// expect reads one line and ends the test unless it is want.
func (p *process) expect(want string) {
	p.t.Helper()
	if got := p.line(); got != want {
		p.t.Fatalf("helper said %q, want %q", got, want)
	}
}

// say sends a line to the helper.
func (p *process) say(line string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.stdin, line); err != nil {
		p.t.Fatal(err)
	}
}

// kill kills the process as kill -9 does, and reaps it.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// wait waits for the helper to end well.
func (p *process) wait() {
	p.t.Helper()
	for p.lines.Scan() {
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("helper: %v", err)
	}
}

// eventually ends the test unless ok becomes true: for what the system does in
// its own time, with a bound that only a defect reaches.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
