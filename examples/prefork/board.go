//go:build unix

package main

import (
	"fmt"
	"io"
	"time"

	"example.org/shm"
)

const maxWorkers = 32

// board has the values that the processes share.
type board struct {
	Traffic  shm.Struct[traffic] `shm:"traffic,help=of all workers since the master started"`
	Restarts shm.Atomic[int64]   `shm:"restarts,help=workers that came after one that ended"`
}

// traffic has the counters of all workers. It changes as a whole: the elements of
// Served always add up to Requests, even if a worker is killed while it counts.
type traffic struct {
	Requests int64
	Bytes    int64 // bytes of all answers
	Busy     time.Duration
	Served   [maxWorkers]int64 // requests that each worker has served
}

// write writes the counters in the text format of Prometheus.
func (b *board) write(w io.Writer) {
	t := b.Traffic.Load()
	fmt.Fprintf(w, "requests_total %d\n", t.Requests)
	fmt.Fprintf(w, "response_bytes_total %d\n", t.Bytes)
	fmt.Fprintf(w, "busy_seconds_total %g\n", t.Busy.Seconds())
	fmt.Fprintf(w, "worker_restarts_total %d\n", b.Restarts.Load())
	for i, n := range t.Served {
		if n > 0 {
			fmt.Fprintf(w, "worker_requests_total{worker=\"%d\"} %d\n", i, n)
		}
	}
}
