// Supervisor counts primes with several processes, the workers, which report to a
// board in shared memory. It shows the board. If a worker is killed or stuck, it
// starts another one, which continues where the board says. The entry of a worker
// is always whole, whenever the worker died.
package main

import (
	"flag"
	"log"
	"runtime"
	"time"
)

func main() {
	log.SetFlags(0)
	var s supervisor
	flag.StringVar(&s.name, "name", "primes", "name of the segment; an existing segment of that name is replaced")
	flag.Int64Var(&s.upTo, "upto", 100_000_000, "where to stop counting primes")
	flag.IntVar(&s.workers, "workers", runtime.NumCPU(), "number of processes that count")
	flag.DurationVar(&s.every, "every", time.Second, "how often to show the board")
	flag.DurationVar(&s.stale, "stale", 5*time.Second, "age of a heartbeat at which a worker is stuck")
	worker := flag.Int("worker", -1, "number of this worker; only the supervisor sets it")
	flag.Parse()
	var err error
	if *worker >= 0 {
		err = work(s.name, *worker)
	} else {
		err = s.run()
	}
	if err != nil {
		log.Fatal(err)
	}
}
