//go:build unix

// Package server is an HTTP server that another program, such as its next
// version, can replace while it runs. The old program passes the listening socket
// and the segment with the counters to the new one. Both serve until the old
// program has answered the requests that it has begun.
package server

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"example.org/shm"
	"example.org/shm/examples/internal/socket"
)

const (
	socketFd   = 3                // the first file of exec.Cmd.ExtraFiles
	startTime  = 10 * time.Second // how long the next program may take until it is ready
	headerTime = 5 * time.Second  // how long a connection may take to send the header of a request
	drainTime  = 30 * time.Second // how long the requests that have begun may take
)

// server is the state of one process that serves.
type server struct {
	seg      *shm.Segment
	listener net.Listener
	ready    shm.Value[int64] // number of programs that have been ready, from the first one to this one
	http     http.Server
	served   chan error     // the result of http.Serve
	open     sync.WaitGroup // open connections
}

// Run serves until SIGTERM or SIGHUP. At SIGHUP it starts the program that is at
// the path of this one by then, and returns when that program is ready. pages
// attaches to the values in the segment and returns the handler of all requests.
func Run(pages func(*shm.Segment) (http.Handler, error)) error {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on, unless another process passes its socket")
	flag.Parse()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)

	s := server{served: make(chan error, 1)}
	if err := s.inherit(*addr); err != nil {
		return err
	}
	defer s.seg.Close()
	handler, err := pages(s.seg)
	if err != nil {
		return err
	}
	s.http = http.Server{Handler: handler, ReadHeaderTimeout: headerTime, ConnState: s.connection}
	go func() { s.served <- s.http.Serve(s.listener) }()
	log.Printf("process %d serves http://%s", os.Getpid(), s.listener.Addr())
	s.ready.Add(1) // the process before this one awaits this
	for {
		select {
		case err := <-s.served:
			return err
		case got := <-signals:
			if got == syscall.SIGHUP {
				if err := s.startNext(); err != nil {
					log.Printf("process %d goes on: %v", os.Getpid(), err)
					continue
				}
			}
			return s.drain()
		}
	}
}

// inherit takes the socket and the segment from the process that started this
// one, or makes them.
func (s *server) inherit(addr string) (err error) {
	s.seg, err = shm.Inherited("", nil)
	switch {
	case err == nil:
		s.listener, err = socket.Listener(socketFd)
	case errors.Is(err, fs.ErrNotExist): // this is the first process
		if s.listener, err = net.Listen("tcp", addr); err != nil {
			return err
		}
		s.seg, err = shm.Anonymous(nil)
	}
	if err != nil {
		return err
	}
	s.ready, err = shm.NewValue[int64](s.seg, "ready", 0)
	return err
}

// startNext starts the program at the path of this one, and returns when it is
// ready. If that program ends before it is ready, or takes too long, startNext
// returns an error and this process can continue to serve.
func (s *server) startNext() error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	listener, err := socket.File(s.listener)
	if err != nil {
		return err
	}
	defer listener.Close()
	cmd := exec.Command(program, os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{listener}
	s.seg.Pass(cmd) // last, as a later change of cmd.ExtraFiles would undo it
	before := s.ready.Load()
	if err := cmd.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	ctx, ended := context.WithCancelCause(ctx)
	go func() { ended(fmt.Errorf("the next one ended: %w", cmd.Wait())) }()
	if _, err := s.ready.Await(ctx, func(n int64) bool { return n > before }); err != nil {
		_ = cmd.Process.Kill()
		return context.Cause(ctx)
	}
	return nil
}

// connection counts the open connections. It is the ConnState of the http.Server.
func (s *server) connection(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.open.Done()
	}
}

// drain answers the requests of all open connections and accepts no more
// connections: the next program accepts them from now on. It does not use the
// method Shutdown of http.Server. That method can read the request of a
// connection that was just accepted, and close the connection without an answer
// (https://go.dev/issue/75591).
func (s *server) drain() error {
	log.Printf("process %d drains", os.Getpid())
	if err := s.listener.Close(); err != nil {
		return err
	}
	<-s.served
	s.http.SetKeepAlivesEnabled(false)
	drained := make(chan struct{})
	go func() {
		s.open.Wait()
		close(drained)
	}()
	select {
	case <-drained:
		return nil
	case <-time.After(drainTime):
		return fmt.Errorf("requests that took longer than %v are cut off", drainTime)
	}
}
