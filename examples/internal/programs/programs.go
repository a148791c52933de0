// Package programs runs the examples as real programs in their tests.
package programs

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tooLong is a time-out that only a defect reaches.
const tooLong = time.Minute

// Main builds the programs of some packages into a temporary directory, sets dir
// to its name, and runs the tests. TestMain calls it. It returns the exit code.
func Main(m *testing.M, dir *string, packages ...string) int {
	temp, err := os.MkdirTemp("", "shm-example-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(temp)
	*dir = temp
	if err := build(temp, packages); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// Build builds the programs of some packages into a directory that ends with the test, and
// returns its name. It is for packages whose TestMain calls shmtest.Main.
func Build(t testing.TB, packages ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := build(dir, packages); err != nil {
		t.Fatal(err)
	}
	return dir
}

func build(dir string, packages []string) error {
	args := append([]string{"build", "-o", dir + string(filepath.Separator)}, packages...)
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("building the programs: %w\n%s", err, out)
	}
	return nil
}

// Context returns the context of the test with a time-out that only a defect
// reaches.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), tooLong)
	t.Cleanup(cancel)
	return ctx
}

// A Process is a running program. It is killed when the test ends.
type Process struct {
	t     testing.TB
	cmd   *exec.Cmd
	lines chan string // lines of its output that were not read yet
}

// Start starts a program. Line and Rest return the lines that the program, and the
// programs that it starts, write to standard output and standard error.
func Start(t testing.TB, name string, args ...string) *Process {
	t.Helper()
	return StartCmd(t, exec.Command(name, args...))
}

// StartCmd is like Start, but runs the given command.
func StartCmd(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		_ = out.Close()
		t.Fatal(err)
	}
	p := &Process{t, cmd, make(chan string, 1<<16)} // so large that it never fills: a full pipe would block the program
	go func() {
		defer out.Close()
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.lines <- lines.Text()
		}
		close(p.lines)
	}()
	t.Cleanup(p.Kill)
	return p
}

// Pid returns the process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Line returns the next line that starts with a prefix, without the prefix. It
// skips the lines before it.
func (p *Process) Line(prefix string) string {
	p.t.Helper()
	var before []string
	for late := time.After(tooLong); ; {
		line, more := p.next(late)
		if rest, ok := strings.CutPrefix(line, prefix); ok && more {
			return rest
		}
		if !more {
			p.t.Fatalf("%s ended and did not say %q:\n%s", p.cmd.Path, prefix, strings.Join(before, "\n"))
		}
		before = append(before, line)
	}
}

// Rest returns the remaining lines, up to the end of the process and of all
// processes that write to the same pipe.
func (p *Process) Rest() (lines []string) {
	p.t.Helper()
	for late := time.After(tooLong); ; {
		line, more := p.next(late)
		if !more {
			return lines
		}
		lines = append(lines, line)
	}
}

func (p *Process) next(late <-chan time.Time) (line string, more bool) {
	p.t.Helper()
	select {
	case line, more = <-p.lines:
	case <-late:
		p.t.Fatalf("%s neither ends nor says what it should", p.cmd.Path)
	}
	return line, more
}

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// Kill kills the process as kill -9 does, and reaps it.
func (p *Process) Kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// Wait waits for the process to end with exit status 0.
func (p *Process) Wait() {
	p.t.Helper()
	late := time.AfterFunc(tooLong, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("%s: %v", p.cmd.Path, err)
	}
}

// Client returns an HTTP client with a time-out that only a defect reaches.
func Client(t testing.TB) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: tooLong}
}

// Get requests a page over a connection of its own, and returns its text.
func Get(t testing.TB, url string) string {
	t.Helper()
	client := Client(t)
	defer client.CloseIdleConnections()
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v, %s", url, err, answer.Status)
	}
	return string(text)
}

// Eventually waits until ok returns true. It is for changes that the system makes
// at a time of its own. It ends the test after a time-out that only a defect
// reaches.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(tooLong); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
