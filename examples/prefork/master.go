//go:build unix

package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"example.org/shm"
	"example.org/shm/examples/internal/socket"
)

// master opens the socket and the segment, and keeps the workers running. It does
// not serve requests itself.
type master struct {
	program string
	socket  *os.File
	seg     *shm.Segment
	board   board
}

// run runs the master until a signal ends it.
func run(addr string, workers int) error {
	if workers < 1 || workers > maxWorkers {
		return fmt.Errorf("%d workers: 1 to %d can share the board", workers, maxWorkers)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var m master
	var err error
	if m.program, err = os.Executable(); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer ln.Close()
	if m.socket, err = socket.File(ln); err != nil {
		return err
	}
	defer m.socket.Close()
	if m.seg, err = shm.Anonymous(nil); err != nil { // the memory is freed when the last of these processes ends
		return err
	}
	defer m.seg.Close()
	if err := shm.Bind(m.seg, &m.board); err != nil {
		return err
	}
	fmt.Printf("http://%s\n", ln.Addr())
	var all sync.WaitGroup
	for i := range workers {
		all.Go(func() { m.keep(ctx, i) })
	}
	all.Wait()
	return nil
}

// keep runs the worker of a number, and starts another whenever it ends.
func (m *master) keep(ctx context.Context, number int) {
	for {
		err := m.runWorker(ctx, number)
		if ctx.Err() != nil {
			return
		}
		log.Printf("worker %d ended (%v), the next one starts", number, err)
		m.board.Restarts.Add(1)
		select {
		case <-time.After(50 * time.Millisecond): // a worker that cannot start must not keep a processor busy
		case <-ctx.Done():
			return
		}
	}
}

// runWorker starts a worker and returns when the worker has ended. A worker ends
// when its standard input ends. That happens when ctx is done, and also if this
// process is killed.
func (m *master) runWorker(ctx context.Context, number int) error {
	cmd := exec.CommandContext(ctx, m.program, "-worker", strconv.Itoa(number))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Cancel = stdin.Close
	cmd.WaitDelay = 2 * drainTime // after this time the worker is killed
	cmd.ExtraFiles = []*os.File{m.socket}
	m.seg.Pass(cmd) // last, as a later change of cmd.ExtraFiles would undo it
	return cmd.Run()
}
