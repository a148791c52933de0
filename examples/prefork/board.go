//go:build unix

package main

import (
	"fmt"
	"io"

	"example.org/shm"
)

const maxWorkers = 32

// board has the values that the processes share. No process waits for another one when
// it counts: each has a cell of its own in a Counter and a Histogram, and each worker has
// a row of its own in the Table. So a worker that is stopped does not stop the others.
type board struct {
	Requests shm.Counter[int64]      `shm:"requests,unit=requests,help=answered since the master started"`
	Bytes    shm.Counter[int64]      `shm:"bytes,unit=bytes,help=of all answers"`
	Latency  shm.Histogram           `shm:"latency,bounds=0.0001;0.001;0.01;0.1;1,unit=seconds,help=from the request to the answer"`
	Restarts shm.Counter[int64]      `shm:"restarts,help=workers that came after one that ended"`
	Workers  shm.Table[workerStatus] `shm:"workers,len=32,help=a row for each worker's number"`
}

// workerStatus is what a worker says of itself. A row changes as a whole.
type workerStatus struct {
	Pid    int32
	_      int32
	Served int64 // requests, by all processes that had this worker's number
}

// write writes the values in the text format of Prometheus. The requests are read last,
// so the workers' never add up to more.
func (b *board) write(w io.Writer) {
	for i, row := range b.Workers.All() {
		if row.Served > 0 {
			fmt.Fprintf(w, "worker_requests_total{worker=\"%d\"} %d\n", i, row.Served)
		}
	}
	latency := b.Latency.Load()
	below := uint64(0)
	for i, bound := range latency.Bounds {
		below += latency.Counts[i]
		fmt.Fprintf(w, "latency_seconds_bucket{le=\"%g\"} %d\n", bound, below)
	}
	below += latency.Counts[len(latency.Bounds)]
	fmt.Fprintf(w, "latency_seconds_bucket{le=\"+Inf\"} %d\n", below)
	fmt.Fprintf(w, "latency_seconds_sum %g\n", latency.Sum)
	fmt.Fprintf(w, "latency_seconds_count %d\n", below)
	fmt.Fprintf(w, "response_bytes_total %d\n", b.Bytes.Load())
	fmt.Fprintf(w, "requests_total %d\n", b.Requests.Load())
	fmt.Fprintf(w, "worker_restarts_total %d\n", b.Restarts.Load())
}
