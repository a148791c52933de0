//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Two builds of this command are compared by running both as peers: each runs
// batches of its own when it is asked to, and waits in between.
//
//	request: a name, a tab, a number of iterations
//	reply:   nanoseconds for one iteration, and objects allocated for one
//	         "missing" and an error, if there is no such comparison

// errMissing is wrapped by what this machine, or a peer, cannot measure.
var errMissing = errors.New("left out")

// serve answers requests until the end of in.
func serve(r *runner, all []comparison, in io.Reader, out io.Writer) error {
	var b *bed
	var ours loop
	current := ""
	prepare := func(name string) error {
		if name == current {
			return nil
		}
		if b != nil {
			b.close()
			b, current = nil, ""
		}
		for _, c := range all {
			if c.name != name || c.loops == nil {
				continue
			}
			var err error
			if b, err = newBed(); err != nil {
				return err
			}
			err = catch(func() { ours, _ = c.loops(b) })
			if err == nil {
				current = name
			}
			return err
		}
		return errors.New("no such loop")
	}
	requests := bufio.NewScanner(in)
	for requests.Scan() {
		name, count, _ := strings.Cut(requests.Text(), "\t")
		n, err := strconv.Atoi(count)
		if err == nil {
			err = prepare(name)
		}
		if err != nil {
			fmt.Fprintf(out, "missing %v\n", err)
			continue
		}
		if n == 0 {
			n = b.batch
			if n == 0 {
				n = 1000
			}
			fmt.Fprintf(out, "%g %d\n", r.allocs(b, ours), b.batch)
			continue
		}
		err = catch(func() {
			took := r.once(b, ours, n)
			fmt.Fprintf(out, "%d 0\n", took.Nanoseconds())
		})
		if err != nil {
			return err
		}
	}
	if b != nil {
		b.close()
	}
	return requests.Err()
}

// peer is a process that serves.
type peer struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startPeer(program string) (*peer, error) {
	p := &peer{cmd: exec.Command(program, "-serve", "-long")}
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	return p, p.cmd.Start()
}

// ask sends a request and returns both numbers of the reply.
func (p *peer) ask(name string, n int) (x float64, y int, err error) {
	if _, err := fmt.Fprintf(p.in, "%s\t%d\n", name, n); err != nil {
		return 0, 0, err
	}
	line, err := p.out.ReadString('\n')
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", p.cmd.Path, err)
	}
	if why, missing := strings.CutPrefix(line, "missing "); missing {
		return 0, 0, fmt.Errorf("%w: %s: %s", errMissing, name, strings.TrimSpace(why))
	}
	_, err = fmt.Sscan(line, &x, &y)
	return x, y, err
}

func (p *peer) stop() {
	_ = p.in.Close() // which ends it
	_ = p.cmd.Wait() // what it found out was told before
}

// peers are this build and another.
type peers struct{ here, there string }

func newPeers(other string) (*peers, error) {
	self, err := os.Executable()
	return &peers{self, other}, err
}

// launches is how often both are started anew for one comparison: where code,
// stack and heap happen to lie makes a few percent, and differs from one process
// to the next.
const launches = 8

// run compares ours here with ours there.
func (p *peers) run(r *runner, c *comparison) (*result, error) {
	res := &result{Name: c.name, Ours: c.what(), Rival: "the same, other build", Unit: c.unit}
	if res.Unit == "" {
		res.Unit = "ns"
	}
	pairs := r.pairs
	if c.pairs != 0 {
		pairs = c.pairs
	}
	var all [2][]float64
	for range launches {
		if err := p.pairs(r, c, res, max(1, pairs/launches), &all); err != nil {
			return nil, err
		}
	}
	res.fill(all)
	return res, nil
}

// pairs measures some pairs in processes of their own.
func (p *peers) pairs(r *runner, c *comparison, res *result, pairs int, all *[2][]float64) (err error) {
	var allocs [2]float64
	var sides [2]side
	for i, program := range []string{p.here, p.there} {
		q, err := startPeer(program)
		if err != nil {
			return err
		}
		defer q.stop()
		x, n, err := q.ask(c.name, 0)
		if err != nil {
			return err
		}
		allocs[i] = x
		if n == 0 {
			failed := catch(func() {
				n = r.calibrate(func(n int) time.Duration {
					took, _, err := q.ask(c.name, n)
					check(err)
					return time.Duration(took)
				})
			})
			if failed != nil {
				return failed
			}
		}
		sides[i] = func() (float64, error) {
			took, _, err := q.ask(c.name, n)
			return took / float64(n), err
		}
	}
	res.Allocs = &allocs
	return r.measure(pairs, r.alternate(sides[0], sides[1]), all)
}
