// Package programs runs the examples as real programs, for their tests.
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

// tooLong is a bound that only a defect reaches.
const tooLong = time.Minute

// Main builds the programs of some packages into a directory, whose name it
// sets, and runs the tests. It is for TestMain, and returns the exit code.
func Main(m *testing.M, dir *string, packages ...string) int {
	temp, err := os.MkdirTemp("", "shm-example-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(temp)
	*dir = temp
	args := append([]string{"build", "-o", temp + string(filepath.Separator)}, packages...)
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the programs: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// Context returns the test's, with a bound that only a defect reaches.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), tooLong)
	t.Cleanup(cancel)
	return ctx
}

// A Process is a running program, which is killed when the test ends.
type Process struct {
	t     testing.TB
	cmd   *exec.Cmd
	lines chan string // what it has said, and nobody has asked for yet
}

// Start starts a program. What it, and whatever it starts, writes to its
// standard output and error is for Line and Rest.
func Start(t testing.TB, name string, args ...string) *Process {
	t.Helper()
	return StartCmd(t, exec.Command(name, args...))
}

// StartCmd is Start with a command of the caller's.
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
	p := &Process{t, cmd, make(chan string, 1<<16)} // more than a test waits for: a full pipe would stop the program
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

// Line returns the rest of the next line that starts with a prefix; those
// before it are left out.
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

// Rest returns the lines up to the end of the process, and of those that write
// where it wrote.
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

// Wait waits for the process to end well.
func (p *Process) Wait() {
	p.t.Helper()
	late := time.AfterFunc(tooLong, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("%s: %v", p.cmd.Path, err)
	}
}

// Client returns an HTTP client that gives up only where something hangs.
func Client(t testing.TB) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: tooLong}
}

// Get returns the text of a page, over a connection of its own.
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

// Eventually ends the test unless ok becomes true: for what the system does in
// its own time.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(tooLong); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
