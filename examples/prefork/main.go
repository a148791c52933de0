//go:build unix

// Prefork is an HTTP server of several processes that share one listening
// socket and one set of counters: whichever of them is asked for /metrics
// answers for all, and one that is killed takes neither a count nor a lock with
// it.
package main

import (
	"flag"
	"log"
	"runtime"
)

func main() {
	log.SetFlags(0)
	addr := flag.String("addr", "127.0.0.1:8080", "to listen on")
	workers := flag.Int("workers", min(runtime.NumCPU(), maxWorkers), "processes that serve")
	worker := flag.Int("worker", -1, "the master starts the worker of this number")
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
