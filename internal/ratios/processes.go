//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"example.org/shm"
	"golang.org/x/sys/unix"
)

// cRivals builds the rivals in C, once. The error says that this machine cannot.
var cRivals = sync.OnceValues(func() (program string, err error) {
	return compile("rivals", "testdata/rivals/rivals.c", "-std=gnu11")
})

// compile builds a C program into a directory that the end of this program
// removes.
func compile(name, source string, flags ...string) (program string, err error) {
	if _, err := os.Stat(source); err != nil {
		return "", fmt.Errorf("%w: run it in the root of the repository: %w", errMissing, err)
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		return "", fmt.Errorf("%w: %w", errMissing, err)
	}
	dir, err := os.MkdirTemp("", "shm-ratios-")
	if err != nil {
		return "", err
	}
	atExit(func() { _ = os.RemoveAll(dir) })
	program = filepath.Join(dir, name)
	if out, err := exec.Command("gcc", append(flags, "-O2", "-pthread", "-o", program, source)...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("gcc: %w\n%s", err, out)
	}
	return program, nil
}

// measured is what the rivals in C print; testdata/rivals/README.md describes it.
type measured struct {
	Nanoseconds  float64 `json:"ns_per_op"`
	Millions     float64 `json:"mops"`
	MinShare     float64 `json:"min_share"`
	AsleepMedian float64 `json:"waiter_median_ns"`
	LateMedian   float64 `json:"late_median_ns"`
}

// runC runs a rival in C.
func runC(program string, args ...string) (r measured, err error) {
	out, err := exec.Command(program, args...).Output()
	if err == nil {
		err = json.Unmarshal(bytes.TrimSpace(out), &r)
	}
	if err != nil {
		return r, fmt.Errorf("the rivals in C, %v: %w", args, err)
	}
	return r, nil
}

// cores returns the processors that this process may use.
func cores() (all []int) {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) == nil {
		for i := range 1024 {
			if set.IsSet(i) {
				all = append(all, i)
			}
		}
	}
	return all
}

// contender adds to a Value, on one core, from when the number "run" is 1 until it
// is 2, and prints how often.
func contender(args []string) error {
	core, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return err
	}
	s, err := shm.Open(args[0], &shm.Options{MustExist: true})
	if err != nil {
		return err
	}
	v, err := shm.NewValue[int64](s, "n", 0)
	if err != nil {
		return err
	}
	run, err := shm.NewAtomic[int32](s, "run", 0)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for run.Load() == 0 {
	}
	n := 0
	for ; run.Load() == 1; n++ {
		v.Add(1)
	}
	fmt.Println(n)
	return nil
}

// contention is how long processes add before they are counted.
const contention = 300 * time.Millisecond

// contend lets processes add to one Value, each on a core of its own, and returns
// how many million additions a second they made together, and how large the share
// of the one that made fewest is, of a fair one.
func contend(procs int) (millions, share float64, err error) {
	b, err := newBed()
	if err != nil {
		return 0, 0, err
	}
	defer b.close()
	err = catch(func() {
		name := b.name()
		s := b.open(name)
		v, run := must(shm.NewValue[int64](s, "n", 0)), must(shm.NewAtomic[int32](s, "run", 0))
		on := cores()
		var all []*worker
		for i := range procs {
			w := b.start("contender", name, strconv.Itoa(on[i%len(on)]))
			check(w.expect("ready"))
			all = append(all, w)
		}
		begin := time.Now()
		run.Store(1)
		time.Sleep(contention)
		run.Store(2)
		took := time.Since(begin)
		var counts []int
		total := 0
		for _, w := range all {
			n := must(strconv.Atoi(must(w.line())))
			counts = append(counts, n)
			total += n
		}
		if got := v.Load(); got != int64(total) {
			check(fmt.Errorf("%d additions counted %d", total, got))
		}
		millions = float64(total) / took.Seconds() / 1e6
		share = float64(slices.Min(counts)*procs) / float64(total)
	})
	return millions, share, err
}

// contended compares the rate of processes on one number with that of a lock in C.
func contended(procs int, lock, what string, target float64) comparison {
	return comparison{
		note: "The rate is that of a cache line's way between two cores, which differs from host to host.",
		name: "Value.Add, " + digits(procs) + " processes, against " + lock, ours: "Value.Add, " + digits(procs) + " processes", rival: what,
		unit: "million/s", more: true, target: target, long: true, pairs: 11,
		sides: func(b *bed) (ours, rival side) {
			program := must(cRivals())
			return func() (float64, error) {
					rate, _, err := contend(procs)
					return rate, err
				}, func() (float64, error) {
					r, err := runC(program, lock, "contend", strconv.Itoa(procs), fmt.Sprint(contention.Seconds()))
					return r.Millions, err
				}
		},
	}
}

var processes = []comparison{
	contended(2, "robust", "pthread mutex in C, robust", 2.5),
	contended(2, "pthread", "pthread mutex in C, process-shared", 1),
	contended(2, "futex3", "three-state futex in C, which no kill survives", 0),
	contended(2, "posixsem", "POSIX semaphore in C", 0),
	contended(2, "flock", "flock(2) in C", 0),
	contended(2, "ofd", "fcntl(2) lock in C", 0),
	contended(2, "xadd", "atomic addition in C, no lock", 0),
	{
		name: "Value.Add, 2 processes, the share of the slower", rival: "a fair share", unit: "of a fair share", more: true, target: 0.75, long: true, pairs: 11,
		both: func(*bed) round {
			return func() (ours, rival float64, err error) {
				_, share, err := contend(2)
				return share, 1, err
			}
		},
	},
	alone("robust", "pthread mutex in C, robust, and an increment"),
	alone("pthread", "pthread mutex in C, process-shared, and an increment"),
	{
		name: "a channel's ping-pong, beside 20,000 goroutines that wait for a lock", rival: "with nobody waiting", target: 1.43, long: true,
		sides: func(b *bed) (ours, rival side) { return b.pingPongs(20_000, 1) },
	}, {
		name: "a channel's ping-pong, beside 1,000 goroutines that wait for 1,000 locks", rival: "with nobody waiting", target: 1.43, long: true,
		sides: func(b *bed) (ours, rival side) { return b.pingPongs(1000, 1000) },
	},
}

// alone compares an addition that nobody disturbs with that of a lock in C.
func alone(lock, what string) comparison {
	const n = 1_000_000
	return comparison{
		name: "Value.Add, against " + lock, ours: "Value.Add", rival: what, long: true, pairs: 51,
		sides: func(b *bed) (ours, rival side) {
			program := must(cRivals())
			v := must(shm.NewValue(b.segment, "v", int64(0)))
			return func() (float64, error) {
					begin := time.Now()
					for range n {
						v.Add(1)
					}
					return float64(time.Since(begin).Nanoseconds()) / n, nil
				}, func() (float64, error) {
					r, err := runC(program, lock, "alone", strconv.Itoa(n))
					return r.Nanoseconds, err
				}
		},
	}
}

// pingPongs compares how long two goroutines take to hand a token to and fro in a
// process where others wait for locks, with one where nobody does.
func (b *bed) pingPongs(goroutines, locks int) (crowded, quiet side) {
	name := b.name()
	b.open(name)
	holder := b.start("holder", name, "0", strconv.Itoa(locks))
	check(holder.expect("locked"))
	check(holder.cmd.Process.Signal(unix.SIGSTOP))
	one := func(goroutines int) side {
		w := b.start("pingpong", name, strconv.Itoa(goroutines), strconv.Itoa(locks))
		check(w.expect("ready"))
		return func() (float64, error) {
			if err := w.say("go"); err != nil {
				return 0, err
			}
			text, err := w.line()
			if err != nil {
				return 0, err
			}
			return strconv.ParseFloat(text, 64)
		}
	}
	return one(goroutines), one(0)
}

// pingPong waits for locks in many goroutines, and prints how long a round of two
// others takes whenever it is told to.
func pingPong(args []string) error {
	goroutines, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	locks, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	s, err := shm.Open(args[0], &shm.Options{MustExist: true})
	if err != nil {
		return err
	}
	for i := range goroutines {
		mu, err := shm.NewMutex(s, lockName(i%locks))
		if err != nil {
			return err
		}
		go mu.Lock() // which its holder never releases
	}
	time.Sleep(2 * time.Second) // until all of them sleep
	ping, pong := make(chan int), make(chan int)
	go func() {
		for x := range ping {
			pong <- x
		}
	}()
	fmt.Println("ready")
	return eachLine(func(string) error {
		const n = 1000
		begin := time.Now()
		for range n {
			ping <- 1
			<-pong
		}
		fmt.Println(float64(time.Since(begin).Nanoseconds()) / n)
		return nil
	})
}
