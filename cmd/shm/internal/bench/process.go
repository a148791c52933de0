package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// process is a worker or a script. On its standard output it prints that it is ready,
// and then its results as one line of JSON.
type process struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	out    *os.File
	lines  *bufio.Reader
	errs   bytes.Buffer
	ended  bool
}

const readyLine = "ready"

// errEnded is the error of a process that ended without an answer.
var errEnded = errors.New("it ended without an answer")

// start starts a command on the given processors, or on all if there are none. The
// command ends when ctx ends, and when this process ends: see tie.
func start(ctx context.Context, cpus []int, prepare func(context.Context) *exec.Cmd) (*process, error) {
	ctx, cancel := context.WithCancel(ctx)
	p := &process{cmd: prepare(ctx), cancel: cancel}
	out, stdout, err := os.Pipe()
	if err != nil {
		cancel()
		return nil, err
	}
	p.out, p.lines = out, bufio.NewReader(out)
	p.cmd.Stdout, p.cmd.Stderr = stdout, &p.errs
	if err := tie(p.cmd); err != nil {
		cancel()
		return nil, errors.Join(err, stdout.Close(), out.Close())
	}
	err = errors.Join(onCPUs(cpus, p.cmd.Start), stdout.Close())
	if p.cmd.Process == nil {
		cancel()
		return nil, errors.Join(err, out.Close())
	}
	if err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// awaitReady waits until the process prints that it is ready.
func (p *process) awaitReady() error {
	line, err := p.lines.ReadString('\n')
	if err != nil {
		return p.failure(err)
	}
	if got := strings.TrimSpace(line); got != readyLine {
		return fmt.Errorf("a worker said %q, not %q", got, readyLine)
	}
	return nil
}

// answer waits for the results of the process and decodes them. If within is not 0 and
// the process takes longer, the error wraps os.ErrDeadlineExceeded.
func (p *process) answer(v any, within time.Duration) error {
	line, err := p.line(within)
	switch {
	case err == io.EOF:
		return p.failure(err)
	case err != nil:
		return err
	}
	return json.Unmarshal(line, v)
}

// line reads a line, as answer does.
func (p *process) line(within time.Duration) ([]byte, error) {
	var deadline time.Time
	if within > 0 {
		deadline = time.Now().Add(within)
	}
	err := p.out.SetReadDeadline(deadline)
	if err == nil || errors.Is(err, os.ErrNoDeadline) && within == 0 {
		return p.lines.ReadBytes('\n')
	}
	if !errors.Is(err, os.ErrNoDeadline) {
		return nil, err
	}
	// Pipes of Windows have no deadline. After the time nobody reads from p.lines any
	// more, and the goroutine ends with the process.
	type result struct {
		line []byte
		err  error
	}
	got := make(chan result, 1)
	go func() {
		line, err := p.lines.ReadBytes('\n')
		got <- result{line, err}
	}()
	select {
	case r := <-got:
		return r.line, r.err
	case <-time.After(within):
		return nil, os.ErrDeadlineExceeded
	}
}

// failure returns an error that says why a process has not answered.
func (p *process) failure(err error) error {
	if err != io.EOF {
		return err
	}
	p.stop()
	if text := strings.TrimSpace(p.errs.String()); text != "" {
		// The last line has the reason, also of a Python traceback.
		return fmt.Errorf("%w: %s", errEnded, text[strings.LastIndexByte(text, '\n')+1:])
	}
	return fmt.Errorf("%w: %v", errEnded, p.cmd.ProcessState)
}

// kill kills the process as kill -9 does, and returns when the process has ended.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return err
	}
	p.reap()
	return nil
}

// stop ends the process if it still runs, and releases its resources.
func (p *process) stop() {
	p.cancel()
	p.reap()
	_ = p.out.Close() // no data can be lost, as the file was only read
}

// reap waits for the end of the process. It ignores the exit status: only the answer
// of the process matters.
func (p *process) reap() {
	if !p.ended {
		p.ended = true
		_ = p.cmd.Wait()
	}
}
