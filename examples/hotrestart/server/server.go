//go:build unix

// Package server is an HTTP server that another program, such as its next
// version, can take over while it runs: the listening socket and the segment
// with the counters are handed to it, and both serve until the old one has
// answered what it began.
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
	socketFd   = 3                // the first of exec.Cmd.ExtraFiles
	startTime  = 10 * time.Second // for the next program to say that it is ready
	headerTime = 5 * time.Second  // for a connection to bring a request
	drainTime  = 30 * time.Second // for the requests that were begun
)

// server is this process's part of it.
type server struct {
	seg      *shm.Segment
	listener net.Listener
	ready    shm.Value[int64] // programs that were ready to serve, this one and those before it
	http     http.Server
	served   chan error     // what http.Serve returned
	open     sync.WaitGroup // connections
}

// Run serves until SIGTERM, or until SIGHUP has started the program that is then
// at the path of this one, and that program is ready. pages attaches to what is
// in the segment and returns what to serve.
func Run(pages func(*shm.Segment) (http.Handler, error)) error {
	addr := flag.String("addr", "127.0.0.1:8080", "to listen on, unless another process hands its socket over")
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
	s.ready.Add(1) // which the process before this one awaits
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

// inherit takes socket and segment from the process that started this one, or
// makes them.
func (s *server) inherit(addr string) (err error) {
	s.seg, err = shm.Inherited("", nil)
	switch {
	case err == nil:
		s.listener, err = socket.Listener(socketFd)
	case errors.Is(err, fs.ErrNotExist): // this is the first one
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

// startNext starts the program at this one's path, and returns when it is ready.
// If it ends before that, or takes too long, nothing has changed.
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
	s.seg.Pass(cmd) // last
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

// connection keeps count of the open ones, as http.Server's ConnState.
func (s *server) connection(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.open.Done()
	}
}

// drain answers all who are connected, and takes no more: who connects from now
// on is the next program's. It is not http.Server's Shutdown, which reads
// the request of a connection just accepted, and closes it without an answer
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
