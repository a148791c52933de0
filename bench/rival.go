package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// rival is a way to share a counter and a record of 64 bytes between processes. A worker
// of it answers lines: "add N", "total", "write MS", "read MS", "attach N", "lock",
// "wait", "poke" and "mismatch". rivals/shared.h says what each does.
type rival struct {
	name string
	note string // what is measured, in the page
	// prepare builds what is needed, and starts a server. The error says what is missing on
	// this machine.
	prepare func(ctx context.Context, dir string) (*ready, error)
	// together starts all workers as one command, which begins each line with the number
	// of a worker.
	together bool
	// single says that only one process can take part: what it does in two would be wrong.
	single bool
}

// ready is a rival whose workers can be started.
type ready struct {
	worker func(ctx context.Context) *exec.Cmd
	server *exec.Cmd // nil if there is none
	end    func()    // removes what is not in the directory; may be nil
}

// worker is a process of a rival.
type worker struct {
	cmd   *exec.Cmd
	pid   int
	in    io.WriteCloser
	lines chan string
	last  *lastLine // that it wrote on standard error
	which string    // what each line begins with, if there are several workers in one command
}

// team is the workers of one rival.
type team struct {
	r     *rival
	dir   string
	ready *ready
	ctx   context.Context
	all   []*worker

	pace
	often map[string]int64 // how often an operation fits in a slice
	added int64            // all increments so far: where the counter must end
}

func newTeam(ctx context.Context, r *rival, base string, p pace) (*team, error) {
	dir, err := os.MkdirTemp(base, "league-")
	if err != nil {
		return nil, err
	}
	t := &team{r: r, dir: dir, ctx: ctx, pace: p, often: map[string]int64{}}
	if t.ready, err = r.prepare(ctx, dir); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return t, nil
}

// close ends all processes of the rival and removes its files.
func (t *team) close() {
	for _, w := range t.all {
		_ = w.in.Close() // it ends by itself, unless it waits for a lock
	}
	for _, w := range t.all {
		for patience := time.After(time.Second); w.cmd != nil; {
			if _, more, silent := w.next(patience); !more || silent {
				w.kill()
			}
		}
	}
	if s := t.ready.server; s != nil && s.Process != nil && s.ProcessState == nil {
		_ = s.Process.Signal(syscall.SIGTERM) // so that it removes what it has made
		for range 100 {
			if syscall.Kill(s.Process.Pid, 0) != nil || ended(s.Process.Pid) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		endGroup(s)
	}
	if t.ready.end != nil {
		t.ready.end()
	}
	_ = os.RemoveAll(t.dir)
}

// need returns n workers.
func (t *team) need(n int) ([]*worker, error) {
	if t.r.together {
		if len(t.all) == 0 {
			if err := t.startTogether(); err != nil {
				return nil, err
			}
		}
		return t.all[:n], nil
	}
	for len(t.all) < n {
		w, err := t.startOne()
		if err != nil {
			return nil, err
		}
		t.all = append(t.all, w)
	}
	return t.all[:n], nil
}

func (t *team) startOne() (*worker, error) { return startWorker(t.ready.worker(t.ctx)) }

// startWorker starts a worker, and waits until it is ready.
func startWorker(c *exec.Cmd) (*worker, error) {
	grouped(c)
	last := new(lastLine)
	c.Stderr = last
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	w := &worker{cmd: c, pid: c.Process.Pid, in: in, lines: make(chan string, 16), last: last}
	go func() {
		defer close(w.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			w.lines <- s.Text()
		}
	}()
	if err := w.ready(); err != nil {
		w.kill()
		return nil, err
	}
	return w, nil
}

// lastLine keeps the last line that was written to it.
type lastLine struct {
	mu   sync.Mutex
	text string
}

func (l *lastLine) Write(b []byte) (int, error) {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = lines[len(lines)-1]
	return len(b), nil
}

func (l *lastLine) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text
}

// ready waits for the line "ready", or "ready PID" of one of several workers.
func (w *worker) ready() error {
	line, err := w.hear(3 * time.Minute)
	if err != nil {
		return fmt.Errorf("it does not start: %w", err)
	}
	if _, pid, ok := strings.Cut(line, " "); ok {
		w.pid, err = strconv.Atoi(pid)
	}
	return err
}

// startTogether starts the command of four workers.
func (t *team) startTogether() error {
	first, err := t.startOne()
	if err != nil {
		return err
	}
	for i := range 4 {
		if i > 0 {
			if err := first.ready(); err != nil {
				first.kill()
				return err
			}
		}
		t.all = append(t.all, &worker{pid: first.pid, in: first.in, last: first.last, which: strconv.Itoa(i) + " ", lines: make(chan string, 16)})
	}
	t.all[0].cmd = first.cmd // its group has all of them
	go func() {
		for line := range first.lines {
			which, answer, _ := strings.Cut(line, " ")
			if n, err := strconv.Atoi(which); err == nil && n < len(t.all) {
				t.all[n].lines <- answer
			}
		}
		for _, w := range t.all {
			close(w.lines)
		}
	}()
	return nil
}

// next returns the next line, whether there is one, and whether none came in time.
func (w *worker) next(end <-chan time.Time) (line string, more, silent bool) {
	select {
	case line, more = <-w.lines:
		return line, more, false
	case <-end:
		return "", true, true
	}
}

var errSilent = errors.New("no answer")

// say sends a line.
func (w *worker) say(line string) error {
	_, err := fmt.Fprintf(w.in, "%s%s\n", w.which, line)
	return err
}

// hear returns the next line.
func (w *worker) hear(within time.Duration) (string, error) {
	line, more, silent := w.next(time.After(within))
	switch {
	case silent:
		return "", fmt.Errorf("%w within %v", errSilent, within)
	case !more:
		return "", fmt.Errorf("a worker has ended: %s", w.last)
	}
	return line, nil
}

// ask sends a line and returns the numbers of the answer; none if the rival cannot do it.
func (w *worker) ask(line string) ([]int64, error) {
	if err := w.say(line); err != nil {
		return nil, err
	}
	return w.numbers()
}

// numbers returns the numbers of the next line.
func (w *worker) numbers() (all []int64, err error) {
	answer, err := w.hear(time.Minute)
	if err != nil || answer == "none" {
		return nil, err
	}
	if text, failed := strings.CutPrefix(answer, "error: "); failed {
		return nil, errors.New(text)
	}
	for field := range strings.FieldsSeq(answer) {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the answer %q: %w", answer, err)
		}
		all = append(all, n)
	}
	return all, nil
}

func (w *worker) kill() {
	if w.cmd == nil {
		return
	}
	endGroup(w.cmd)
	w.cmd = nil
	for range w.lines {
	}
}

// grouped gives a command a process group of its own, so that what it starts ends with it.
func grouped(c *exec.Cmd) *exec.Cmd {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	return c
}

// ended reports whether a child has ended and waits for its parent.
func ended(pid int) bool {
	_, status, _ := strings.Cut(contents(fmt.Sprintf("/proc/%d/stat", pid)), ") ")
	return strings.HasPrefix(status, "Z")
}

// endGroup kills a command, if there is one, and what it started.
func endGroup(c *exec.Cmd) {
	if c == nil || c.Process == nil {
		return
	}
	_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
	_ = c.Wait()
}

// compiled is a rival in C or C++: its source, and what the compiler needs.
func compiled(source string, flags ...string) func(context.Context, string) (*ready, error) {
	return func(ctx context.Context, dir string) (*ready, error) {
		compiler := "cc"
		if filepath.Ext(source) == ".cc" {
			compiler = "c++"
		}
		path, err := exec.LookPath(compiler)
		if err != nil {
			return nil, err
		}
		sources, err := sourcesIn(dir)
		if err != nil {
			return nil, err
		}
		program := filepath.Join(dir, "rival")
		args := append([]string{"-O2", "-o", program, filepath.Join(sources, source)}, flags...)
		if out, err := exec.CommandContext(ctx, path, args...).CombinedOutput(); err != nil {
			first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
			return nil, fmt.Errorf("not built: %w: %s", err, first)
		}
		return &ready{
			worker: func(ctx context.Context) *exec.Cmd { return exec.CommandContext(ctx, program, dir) },
			end:    func() { _ = exec.Command(program, dir, "remove").Run() }, // does nothing where all is in dir
		}, nil
	}
}
