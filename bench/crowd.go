package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"example.org/shm"
)

// The workers of the curves. Each says "ready" itself, and ends when standard input does.
func init() {
	inGo["contender"] = contend
	inGo["crowd"] = crowd
	inGo["finder"] = find
}

func segmentIn(dir string) string { return filepath.Join(dir, "shm") }

// contested is what processes contend for. They add while Run is 1.
type contested struct {
	Count shm.Value[int64]  `shm:"count"`
	Run   shm.Atomic[int32] `shm:"run"`
}

// contend adds to a Value while it may, and prints how often.
func contend(dir string) (verbs, error) {
	s, err := shm.Open(segmentIn(dir), &shm.Options{MustExist: true})
	if err != nil {
		return verbs{}, err
	}
	var v contested
	if err := shm.Bind(s, &v); err != nil {
		return verbs{}, err
	}
	v.Count.Add(0)
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		for v.Run.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		n := 0
		for ; v.Run.Load() == 1; n++ {
			v.Count.Add(1)
		}
		fmt.Println(n)
	}
	os.Exit(0)
	return verbs{}, nil
}

// crowd has goroutines that wait.
func crowd(dir string) (verbs, error) {
	s, err := shm.Open(segmentIn(dir), nil)
	if err != nil {
		return verbs{}, err
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		op, arg, _ := strings.Cut(in.Text(), " ")
		n, _ := strconv.Atoi(arg)
		switch op {
		case "one":
			first, last, err := awaitOne(s, n)
			if err != nil {
				return verbs{}, err
			}
			fmt.Println(first, last)
		case "each":
			for i := range n {
				v, err := shm.NewValue(s, fmt.Sprint("v", i), int64(0))
				if err != nil {
					return verbs{}, err
				}
				go func() {
					_, _ = v.Await(context.Background(), func(x int64) bool { return x < 0 })
				}()
			}
			fmt.Println("waiting")
		case "cpu": // and when
			var u syscall.Rusage
			if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
				return verbs{}, err
			}
			fmt.Println(u.Utime.Nano()+u.Stime.Nano(), now())
		}
	}
	os.Exit(0)
	return verbs{}, nil
}

// awaitOne lets n goroutines await the next change of one value, and returns when the first
// and the last of them ran.
func awaitOne(s *shm.Segment, n int) (first, last int64, err error) {
	v, err := shm.NewValue(s, "v0", int64(0))
	if err != nil {
		return 0, 0, err
	}
	was := v.Load()
	var began, all sync.WaitGroup
	var failed atomic.Pointer[error]
	times := make([]int64, n)
	began.Add(n)
	for i := range n {
		all.Go(func() {
			began.Done()
			if _, err := v.Await(context.Background(), func(x int64) bool { return x != was }); err != nil {
				failed.Store(&err)
			}
			times[i] = now()
		})
	}
	began.Wait()
	time.Sleep(200*time.Millisecond + time.Duration(n)*20*time.Microsecond) // so that all sleep
	fmt.Println("waiting")
	all.Wait()
	if p := failed.Load(); p != nil {
		return 0, 0, *p
	}
	first, last = times[0], times[0]
	for _, t := range times {
		first, last = min(first, t), max(last, t)
	}
	return first, last, nil
}

// find opens a segment of as many values as a line says, and prints what that takes, what
// finding one takes, what finding more takes, and what finding the same again takes.
func find(dir string) (verbs, error) {
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		n, err := strconv.Atoi(in.Text())
		if err != nil {
			return verbs{}, err
		}
		begin := now()
		s, err := shm.Open(segmentIn(dir), &shm.Options{MustExist: true})
		opened := now()
		if err != nil {
			return verbs{}, err
		}
		look := func(i int) error {
			_, err := shm.NewRawValue(s, fmt.Sprint("v", i), int64(0))
			return err
		}
		if err := look(n - 1); err != nil {
			return verbs{}, err
		}
		found := now()
		const more = 100
		var took [2]int64
		for round := range took {
			began := now()
			for i := range more {
				if err := look(i * 7919 % n); err != nil {
					return verbs{}, err
				}
			}
			took[round] = (now() - began) / more
		}
		fmt.Println(opened-begin, found-opened, took[0], took[1])
	}
	os.Exit(0)
	return verbs{}, nil
}
