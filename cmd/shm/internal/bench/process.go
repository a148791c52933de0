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

// process is a worker or a script, which says on its standard output that it is
// ready and then, in one line of JSON, what it found out.
type process struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	out    *os.File
	lines  *bufio.Reader
	errs   bytes.Buffer
	ended  bool
}

const readyLine = "ready"

// errEnded says that a process ended without an answer.
var errEnded = errors.New("it ended without an answer")

// start runs a command on the given processors, none meaning all. It ends with
// ctx, and with this process.
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
	p.cmd.SysProcAttr = attributes()
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

// awaitReady waits for the process to say that it is ready.
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

// answer waits for what the process found out. The error wraps
// os.ErrDeadlineExceeded if that takes longer than a time that is not 0.
func (p *process) answer(v any, within time.Duration) error {
	var deadline time.Time
	if within > 0 {
		deadline = time.Now().Add(within)
	}
	if err := p.out.SetReadDeadline(deadline); err != nil {
		return err
	}
	line, err := p.lines.ReadBytes('\n')
	switch {
	case err == io.EOF:
		return p.failure(err)
	case err != nil:
		return err
	}
	return json.Unmarshal(line, v)
}

// failure says why nothing came from a process.
func (p *process) failure(err error) error {
	if err != io.EOF {
		return err
	}
	p.stop()
	if text := strings.TrimSpace(p.errs.String()); text != "" {
		// The last line is what tells, of a Python traceback too.
		return fmt.Errorf("%w: %s", errEnded, text[strings.LastIndexByte(text, '\n')+1:])
	}
	return fmt.Errorf("%w: %v", errEnded, p.cmd.ProcessState)
}

// kill kills the process as kill -9 does, and returns when it is gone.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return err
	}
	p.reap()
	return nil
}

// stop ends the process, if it has not ended by itself, and forgets it.
func (p *process) stop() {
	p.cancel()
	p.reap()
	_ = p.out.Close() // was read only
}

// reap waits for the process to be gone; what it says of itself does not matter
// any more, its answer does.
func (p *process) reap() {
	if !p.ended {
		p.ended = true
		_ = p.cmd.Wait()
	}
}
