package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"example.org/shm"
)

const block = 20_000 // numbers that a worker tests between two changes of its entry

// work runs a worker. It continues where its entry says, until its work is done or its
// standard input ends.
func work(name string, number int) error {
	signal.Ignore(os.Interrupt) // Ctrl-C also reaches the supervisor, which ends the workers
	seg, err := shm.Inherited(name, nil)
	if err != nil {
		return err
	}
	defer seg.Close()
	board, err := attach(seg, number, status{})
	if err != nil {
		return err
	}
	quit := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(quit)
	}()
	for now := board.Status.Load(); now.State != done; {
		select {
		case <-quit:
			return nil
		default:
		}
		end := min(now.Next+block, now.To)
		found, largest := primes(now.Next, end)
		board.Status.Update(func(s *status) {
			s.State, s.Pid, s.Heartbeat = working, int32(os.Getpid()), time.Now().UnixNano()
			s.Next = end
			s.Found += found
			if end == s.To {
				s.State = done
			}
			now = *s
		})
		if found > 0 {
			if err := board.Message.Store(fmt.Sprintf("largest so far: %d", largest)); err != nil {
				return err
			}
		}
	}
	return nil
}

// primes returns the number of primes p with from <= p < to, and the largest of them.
func primes(from, to int64) (n, largest int64) {
	for x := max(from, 2); x < to; x++ {
		if isPrime(x) {
			n, largest = n+1, x
		}
	}
	return n, largest
}

func isPrime(x int64) bool {
	if x%2 == 0 {
		return x == 2
	}
	for d := int64(3); d*d <= x; d += 2 {
		if x%d == 0 {
			return false
		}
	}
	return true
}
