//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// workers are what this program can be started as, beside itself. A worker talks by
// lines on standard output and input, and ends when its standard input does.
var workers = map[string]func(args []string) error{
	"adder":     adder,
	"contender": contender,
	"holder":    holder,
	"latecomer": latecomer,
	"listener":  listener,
	"pingpong":  pingPong,
}

// workerVariable is the environment variable that names one.
const workerVariable = "SHM_RATIOS_WORKER"

// eachLine calls f for each line of standard input.
func eachLine(f func(line string) error) error {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if err := f(in.Text()); err != nil {
			return err
		}
	}
	return in.Err()
}

// worker is a process that this one has started.
type worker struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

// start starts a worker, which is killed when the comparison is done.
func (b *bed) start(name string, args ...string) *worker {
	cmd := exec.Command(must(os.Executable()), args...)
	cmd.Env = append(os.Environ(), workerVariable+"="+name)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a stopped one does not see its input end
	w := &worker{cmd: cmd, in: must(cmd.StdinPipe())}
	w.lines = bufio.NewScanner(must(cmd.StdoutPipe()))
	check(cmd.Start())
	b.onClose(w.stop)
	return w
}

// line reads one line that the worker printed.
func (w *worker) line() (string, error) {
	if !w.lines.Scan() {
		return "", fmt.Errorf("a worker ended without a word: %w", w.lines.Err())
	}
	return w.lines.Text(), nil
}

// expect reads one line, which must be want.
func (w *worker) expect(want string) error {
	got, err := w.line()
	if err == nil && got != want {
		err = fmt.Errorf("a worker said %q, not %q", got, want)
	}
	return err
}

// say sends the worker a line.
func (w *worker) say(line string) error {
	_, err := fmt.Fprintln(w.in, line)
	return err
}

// stop kills the worker, and returns when it is gone. It may be called again.
func (w *worker) stop() {
	if w.cmd.ProcessState == nil {
		_ = w.cmd.Process.Kill() // it may have ended
		_ = w.cmd.Wait()         // it was killed, and that is no error
	}
}
