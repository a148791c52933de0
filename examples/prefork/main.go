//go:build unix

// Prefork is an HTTP server of several processes. They share one listening socket
// and one set of counters, so each process answers /metrics for all of them. If a
// process is killed, no count is lost, and no lock stays held.
package main

import (
	"flag"
	"log"
	"runtime"
)

func main() {
	log.SetFlags(0)
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	workers := flag.Int("workers", min(runtime.NumCPU(), maxWorkers), "number of processes that serve")
	worker := flag.Int("worker", -1, "number of this worker; only the master sets it")
	flag.Parse()
	var err error
	if *worker >= 0 {
		err = work(*worker)
	} else {
		err = run(*addr, *workers)
	}
	if err != nil {
		log.Fatal(err)
	}
}
