package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"example.org/shm/examples/internal/programs"
)

var bin string // directory of the program

func TestMain(m *testing.M) { os.Exit(programs.Main(m, &bin, ".")) }

// start starts the server. It returns the master and the server's URL.
func start(t *testing.T, workers int) (*programs.Process, string) {
	t.Helper()
	p := programs.Start(t, filepath.Join(bin, "prefork"), "-addr", "127.0.0.1:0", "-workers", fmt.Sprint(workers))
	return p, "http://" + p.Line("http://")
}

// load is a number of clients. Each has one request under way at a time.
type load struct {
	answered, failed atomic.Int64
	workers          sync.Map // from the number of a worker to the id of its process that answered last
	stop             atomic.Bool
	clients          sync.WaitGroup
}

const clients, kills = 6, 6

func startLoad(t *testing.T, address string) *load {
	var l load
	for range clients {
		client := programs.Client(t)
		l.clients.Go(func() {
			for n := 0; !l.stop.Load(); n++ {
				if err := l.request(client, address, n%8 == 7); err != nil {
					// The worker that had the request was killed. No other fault has this error:
					// a request that hangs ends with a time-out.
					if fault, ok := errors.AsType[*url.Error](err); !ok || fault.Timeout() {
						t.Error(err)
						return
					}
					l.failed.Add(1)
				}
			}
		})
	}
	t.Cleanup(l.end)
	return &l
}

func (l *load) end() {
	l.stop.Store(true)
	l.clients.Wait()
}

// request sends a request to one of the workers. If last is true, the connection
// is closed after it, and another worker may get the next request.
func (l *load) request(client *http.Client, address string, last bool) error {
	r, err := http.NewRequest("GET", address, nil)
	if err != nil {
		return err
	}
	r.Close = last
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return &url.Error{Op: "read", URL: address, Err: err}
	}
	var worker, pid int
	if _, err := fmt.Sscanf(string(text), "worker %d, process %d", &worker, &pid); err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	l.answered.Add(1)
	l.workers.Store(worker, pid)
	return nil
}

// pid returns the id of the last process of a worker that has answered, or 0 if
// none has.
func (l *load) pid(worker int) int {
	pid, _ := l.workers.Load(worker)
	n, _ := pid.(int)
	return n
}

// metrics requests the counters and checks that the counts of the workers add up to
// the total, but for those of requests that are being counted, or were when a worker was
// killed. It returns who answered, the text of the counters, and two of them.
func metrics(t *testing.T, address string) (from, totals string, requests, restarts int64) {
	t.Helper()
	from, totals, _ = strings.Cut(programs.Get(t, address+"/metrics"), "\n")
	var sum int64
	for line := range strings.Lines(totals) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		var n int64
		fmt.Sscan(value, &n)
		switch {
		case name == "requests_total":
			requests = n
		case name == "worker_restarts_total":
			restarts = n
		case strings.HasPrefix(name, "worker_requests_total{"):
			sum += n
		}
	}
	if missing := requests - sum; missing < 0 || missing > (kills+1)*clients {
		t.Errorf("%d requests, but the workers' add up to %d:\n%s", requests, sum, totals)
	}
	return from, totals, requests, restarts
}

func TestKillUnderLoad(t *testing.T) {
	t.Parallel()
	const workers = 3
	master, address := start(t, workers)
	l := startLoad(t, address)
	for n := range kills {
		worker := n % workers
		var killed int
		programs.Eventually(t, fmt.Sprintf("worker %d answers and is killed", worker), func() bool {
			killed = l.pid(worker) // it may still be the process before
			return killed != 0 && syscall.Kill(killed, syscall.SIGKILL) == nil
		})
		master.Line(fmt.Sprintf("worker %d ended (signal: killed)", worker))
		metrics(t, address)
		programs.Eventually(t, fmt.Sprintf("another worker %d answers", worker), func() bool { return l.pid(worker) != killed })
	}
	l.end()

	_, totals, requests, restarts := metrics(t, address)
	answered, lost := l.answered.Load(), requests-l.answered.Load()
	if lost < 0 || lost > kills*clients {
		t.Errorf("%d requests were answered, %d counted; %d kills may leave at most %d counted without an answer", answered, requests, kills, kills*clients)
	}
	if failed := l.failed.Load(); failed > kills*clients {
		t.Errorf("%d requests failed of %d kills", failed, kills)
	}
	if restarts != kills {
		t.Errorf("%d restarts of %d kills", restarts, kills)
	}
	// Each worker returns the totals of all workers.
	asked := map[string]bool{}
	programs.Eventually(t, "two workers are asked", func() bool {
		from, same, _, _ := metrics(t, address)
		if same != totals {
			t.Fatalf("%s\n%s\nbut another worker said\n%s", from, same, totals)
		}
		asked[from] = true
		return len(asked) > 1
	})
	master.Signal(syscall.SIGTERM)
	if lines := master.Rest(); len(lines) > 0 {
		t.Errorf("at the end it said %q", lines)
	}
	master.Wait()
}

// TestStoppedWorker stops a worker: the others go on to serve, to count, and to answer
// for all of them.
func TestStoppedWorker(t *testing.T) {
	t.Parallel()
	master, address := start(t, 3)
	var worker, stopped int
	if _, err := fmt.Sscanf(programs.Get(t, address), "worker %d, process %d", &worker, &stopped); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(stopped, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// A thread of it that has not stopped yet can still accept a connection.
	programs.Eventually(t, "all threads of the worker stop", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", stopped))
		return err == nil && len(threads) > 0 && !slices.ContainsFunc(threads, func(thread string) bool {
			stat, err := os.ReadFile(thread)
			return err == nil && !strings.Contains(string(stat), ") T ")
		})
	})
	_, _, before, _ := metrics(t, address)
	const more = 50
	for range more {
		programs.Get(t, address) // over a connection of its own, which the stopped worker cannot accept
	}
	if _, _, after, _ := metrics(t, address); after != before+more {
		t.Errorf("%d requests before, and %d after %d more", before, after, more)
	}
	if err := syscall.Kill(stopped, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	master.Signal(syscall.SIGTERM)
	master.Rest()
	master.Wait()
}

// TestKillMaster checks that no worker outlives its master.
func TestKillMaster(t *testing.T) {
	t.Parallel()
	master, address := start(t, 2)
	programs.Get(t, address)
	master.Kill()
	master.Rest() // returns when the last worker has ended
	if c, err := net.Dial("tcp", strings.TrimPrefix(address, "http://")); err == nil {
		_ = c.Close()
		t.Error("somebody listens still")
	}
}
