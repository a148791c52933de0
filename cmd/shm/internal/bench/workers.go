package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"example.org/shm"
)

// workers is the processes of one measurement, and what they share.
type workers struct {
	ctx      context.Context
	cancel   context.CancelFunc
	way      way
	segment  *shm.Segment
	gate     pipe
	requests pipe   // to the owner, if the way has one
	replies  []pipe // from the owner, one for each client
	owner    *process
	workers  []*process
}

// patience is how long a measurement may take beyond its time. Only a defect takes so
// long.
const patience = 30 * time.Second

var errSlow = errors.New("a worker did not answer in time")

// startWorkers makes what the clients of a measurement share, and starts the owner if the way has
// one. The caller must call stop.
func startWorkers(ctx context.Context, w way, clients int, d time.Duration) (_ *workers, err error) {
	c := &workers{way: w}
	c.ctx, c.cancel = context.WithTimeoutCause(ctx, d+patience, errSlow)
	defer func() {
		if err != nil {
			c.stop()
		}
	}()
	if c.segment, err = shm.Anonymous(nil); err != nil {
		return nil, err
	}
	if c.gate, err = newPipe(); err != nil || !w.owned {
		return c, err
	}
	if c.requests, err = newPipe(); err != nil {
		return nil, err
	}
	answers := make([]*os.File, clients)
	for i := range answers {
		p, err := newPipe()
		if err != nil {
			return nil, err
		}
		c.replies = append(c.replies, p)
		answers[i] = p.w
	}
	c.owner, err = c.start(job{Role: owns, Clients: clients}, nil, append([]*os.File{c.requests.r}, answers...))
	if err != nil {
		return nil, err
	}
	if err := c.owner.awaitReady(); err != nil {
		return nil, c.why(err)
	}
	// A process that reads from a pipe sees the death of the writer only if no other
	// process has the pipe open for writing.
	_ = c.requests.r.Close()
	for _, w := range answers {
		_ = w.Close()
	}
	return c, nil
}

// add starts a worker.
func (c *workers) add(j job, cpus []int) (*process, error) {
	var files []*os.File
	if c.way.owned {
		files = []*os.File{c.requests.w, c.replies[j.Client].r}
	}
	p, err := c.start(j, cpus, files)
	if err != nil {
		return nil, c.why(err)
	}
	c.workers = append(c.workers, p)
	return p, nil
}

// addReady starts a worker and waits until the worker is ready.
func (c *workers) addReady(j job) (*process, error) {
	p, err := c.add(j, nil)
	if err != nil {
		return nil, err
	}
	return p, c.why(p.awaitReady())
}

// start runs this program again as a worker.
func (c *workers) start(j job, cpus []int, files []*os.File) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	handed, err := newInherited(append([]*os.File{c.segment.File(), c.gate.r}, files...))
	if err != nil {
		return nil, err
	}
	defer handed.close()
	j.Way, j.Files = c.way.Way, handed.numbers()
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	return start(c.ctx, cpus, func(ctx context.Context) *exec.Cmd {
		cmd := exec.CommandContext(ctx, self)
		cmd.Env = append(os.Environ(), jobVariable+"="+string(text))
		handed.to(cmd)
		return cmd
	})
}

// begin starts all workers at the same time: they wait for the end of one pipe.
func (c *workers) begin() error { return c.gate.w.Close() }

// why returns err, or the reason why the context of the workers has ended.
func (c *workers) why(err error) error {
	if err != nil && c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	return err
}

// stop ends all processes and closes what they share.
func (c *workers) stop() {
	c.cancel()
	if c.owner != nil {
		c.owner.stop()
	}
	for _, p := range c.workers {
		p.stop()
	}
	c.gate.close()
	c.requests.close()
	for _, p := range c.replies {
		p.close()
	}
	if c.segment != nil {
		_ = c.segment.Close() // its values are not needed any more
	}
}

// pipe has both ends of a pipe.
type pipe struct{ r, w *os.File }

func newPipe() (pipe, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return pipe{}, fmt.Errorf("making a pipe: %w", err)
	}
	return pipe{r, w}, nil
}

// close closes both ends. It ignores the error of an end that was closed before, or
// that was never open.
func (p pipe) close() {
	_ = p.r.Close()
	_ = p.w.Close()
}
