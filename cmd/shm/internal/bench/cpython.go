package bench

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// cpython is a way of CPython's multiprocessing. A script measures it.
type cpython struct {
	About
	impl string // the name of the way in the script
}

var cpythons = []cpython{
	{About{Way: "cpython_rawvalue", Label: "CPython RawValue", Actors: processes, optional: true}, "rawvalue"},
	{About{Way: "cpython_value", Label: "CPython Value", Actors: processes, optional: true}, "value"},
}

//go:embed cpython.py
var script string

const interpreter = "python3"

var (
	errNoPython = errors.New(interpreter + " is not on PATH")
	errNoFork   = errors.New("its processes are forked here, which Windows does not do")
)

func (c cpython) about() About { return c.About }

func (c cpython) alone(ctx context.Context, d time.Duration) (r Alone, err error) {
	return r, python(ctx, d, &r, c.impl, "alone", seconds(d), placing(1))
}

func (c cpython) contend(ctx context.Context, procs int, d time.Duration) (r Contended, err error) {
	return r, python(ctx, d, &r, c.impl, "contend", seconds(d), placing(procs))
}

func (c cpython) kill(ctx context.Context) (r round, err error) {
	return r, python(ctx, stuckAfter, &r, c.impl, "kill", seconds(asleepAfter), seconds(stuckAfter))
}

// pythonVersion returns the version of Python, or "" if there is no Python.
func pythonVersion(ctx context.Context) string {
	var v struct{ Version string }
	if python(ctx, 0, &v, "version") != nil {
		return "" // the reason is reported with the missing ways
	}
	return v.Version
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

// placing returns the argument that tells the script where to pin its processes.
func placing(n int) string {
	cpus := make([]string, n)
	seats := seatsFor(n)
	for i := range cpus {
		cpus[i] = "-"
		if seats != nil {
			cpus[i] = strconv.Itoa(seats[i])
		}
	}
	return strings.Join(cpus, ",")
}

// python runs the script, which takes about as long as d, and decodes its answer.
func python(ctx context.Context, d time.Duration, v any, args ...string) error {
	if runtime.GOOS == "windows" {
		return errNoFork
	}
	path, err := exec.LookPath(interpreter)
	if err != nil {
		return errNoPython
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d+patience, errSlow)
	defer cancel()
	p, err := start(ctx, nil, func(ctx context.Context) *exec.Cmd {
		// Python is isolated, so that it takes no file in the current directory for a
		// module. It reads the script from standard input, so that no file is needed.
		cmd := exec.CommandContext(ctx, path, append([]string{"-I", "-"}, args...)...)
		cmd.Stdin = strings.NewReader(script)
		// SIGTERM ends all its processes. SIGKILL would not let it remove a file that it
		// has just made.
		cmd.Cancel = func() error { return terminateGroup(cmd.Process.Pid) }
		cmd.WaitDelay = 2 * time.Second
		return cmd
	})
	if err != nil {
		return err
	}
	defer p.stop()
	if err := p.answer(v, 0); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("%s: %w", interpreter, err)
	}
	return nil
}
