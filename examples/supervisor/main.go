// Supervisor counts primes with several processes that report to a board in
// shared memory. It shows the board, and starts another worker for one that was
// killed or is stuck, which goes on from what the board says: an entry is whole,
// whenever its writer died.
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
	flag.StringVar(&s.name, "name", "primes", "of the segment; what is there by that name is replaced")
	flag.Int64Var(&s.upTo, "upto", 100_000_000, "where to stop counting primes")
	flag.IntVar(&s.workers, "workers", runtime.NumCPU(), "processes that count")
	flag.DurationVar(&s.every, "every", time.Second, "how often to show the board")
	flag.DurationVar(&s.stale, "stale", 5*time.Second, "age of a heartbeat at which a worker is stuck")
	worker := flag.Int("worker", -1, "the supervisor starts the worker of this number")
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
