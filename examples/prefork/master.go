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

// master opens the socket and the segment, and keeps the workers running. It
// serves nothing itself.
type master struct {
	program string
	socket  *os.File
	seg     *shm.Segment
	board   board
}

// run is the master until it is told to end.
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
	if m.seg, err = shm.Anonymous(nil); err != nil { // gone with the last of these processes
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

// keep sees to it that there is a worker of this number.
func (m *master) keep(ctx context.Context, number int) {
	for {
		err := m.runWorker(ctx, number)
		if ctx.Err() != nil {
			return
		}
		log.Printf("worker %d ended (%v), the next one starts", number, err)
		m.board.Restarts.Add(1)
		select {
		case <-time.After(50 * time.Millisecond): // one that cannot start must not keep a processor busy
		case <-ctx.Done():
			return
		}
	}
}

// runWorker starts a worker and returns when it has ended, which the end of its
// standard input tells it to do: that comes when ctx is done, and as well if
// this process is killed.
func (m *master) runWorker(ctx context.Context, number int) error {
	cmd := exec.CommandContext(ctx, m.program, "-worker", strconv.Itoa(number))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Cancel = stdin.Close
	cmd.WaitDelay = 2 * drainTime // then it is killed
	cmd.ExtraFiles = []*os.File{m.socket}
	m.seg.Pass(cmd) // last
	return cmd.Run()
}
