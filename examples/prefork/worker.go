//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"time"

	"example.org/shm"
	"example.org/shm/examples/internal/socket"
)

const (
	socketFd  = 3                // the first file of exec.Cmd.ExtraFiles
	drainTime = 10 * time.Second // how long the requests that have begun may take
)

// worker is one of the processes that serve.
type worker struct {
	number int
	board  board
}

// work runs a worker until its standard input ends.
func work(number int) error {
	signal.Ignore(os.Interrupt) // Ctrl-C also reaches the master, which ends the workers
	seg, err := shm.Inherited("", nil)
	if err != nil {
		return err
	}
	defer seg.Close()
	w := worker{number: number}
	if err := shm.Bind(seg, &w.board); err != nil {
		return err
	}
	ln, err := socket.Listener(socketFd)
	if err != nil {
		return err
	}
	pages := http.NewServeMux()
	pages.Handle("/", w.count(w.home))
	pages.HandleFunc("/metrics", w.metrics)
	server := http.Server{Handler: pages}
	drained := make(chan error)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		ctx, cancel := context.WithTimeout(context.Background(), drainTime)
		defer cancel()
		drained <- server.Shutdown(ctx)
	}()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-drained
}

func (w *worker) home(rw http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(rw, "worker %d, process %d\n", w.number, os.Getpid())
}

func (w *worker) metrics(rw http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(rw, "# from worker %d, process %d\n", w.number, os.Getpid())
	w.board.write(rw)
}

// count returns a handler that counts each answer before the end of the answer is
// sent. If a worker is killed, every answer that a client has received in full is
// counted, and the answers that were about to be sent may be counted as well. The
// request is counted before the worker's own row, so the rows never have more.
func (w *worker) count(next http.HandlerFunc) http.HandlerFunc {
	row := w.board.Workers.Row(w.number)
	return func(rw http.ResponseWriter, r *http.Request) {
		start := time.Now()
		counted := measured{ResponseWriter: rw}
		next(&counted, r)
		w.board.Requests.Add(1)
		w.board.Bytes.Add(counted.bytes)
		w.board.Latency.Observe(time.Since(start).Seconds())
		row.Update(func(s *workerStatus) {
			s.Pid = int32(os.Getpid())
			s.Served++
		})
	}
}

// measured is an http.ResponseWriter that counts the bytes of an answer.
type measured struct {
	http.ResponseWriter
	bytes int64
}

func (m *measured) Write(b []byte) (int, error) {
	n, err := m.ResponseWriter.Write(b)
	m.bytes += int64(n)
	return n, err
}
