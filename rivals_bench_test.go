//go:build linux

package shm_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// The rivals in C are built where there is a compiler. They are measured in the same
// run as ours, and pinned in the same way: a process to a core.

// rival runs a rival in C and returns what it measured.
func rival(b *testing.B, args ...string) (r struct {
	Nanoseconds  float64 `json:"ns_per_op"`
	Millions     float64 `json:"mops"`
	MinShare     float64 `json:"min_share"`
	Lost         int64   `json:"lost"`
	AsleepMedian float64 `json:"waiter_median_ns"`
	AsleepP99    float64 `json:"waiter_p99_ns"`
	LateMedian   float64 `json:"late_median_ns"`
	LateP99      float64 `json:"late_p99_ns"`
}) {
	b.Helper()
	program := shmtest.CProgram(b, "-std=gnu11", "testdata/rivals/rivals.c")
	out, err := exec.Command(program, args...).Output()
	if err == nil {
		err = json.Unmarshal(bytes.TrimSpace(out), &r)
	}
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// cores returns the processors this process may use.
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

// contender adds to a Value, on one core, from when the counter "run" is 1
// until it is 2, and prints how often.
var contender = shmtest.Helper("contender", func(args []string) error {
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
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	for run.Load() == 0 {
	}
	n := 0
	for ; run.Load() == 1; n++ {
		v.Add(1)
	}
	fmt.Println(n)
	return nil
})

// contend lets procs processes add for a while, and returns how often each did.
func contend(t testing.TB, procs int, d time.Duration) (counts []int) {
	t.Helper()
	name := shmtest.Name(t)
	s := open(t, name, nil)
	v := shmtest.Must(shm.NewValue[int64](s, "n", 0))(t)
	run := shmtest.Must(shm.NewAtomic[int32](s, "run", 0))(t)
	on := cores()
	var all []*shmtest.Process
	for i := range procs {
		p := shmtest.Start(t, contender, name, strconv.Itoa(on[i%len(on)]))
		p.Expect("ready")
		p.Say("go")
		all = append(all, p)
	}
	run.Store(1)
	time.Sleep(d) // the measurement itself
	run.Store(2)
	total := 0
	for _, p := range all {
		n, err := strconv.Atoi(p.Line())
		if err != nil {
			t.Fatal(err)
		}
		p.Wait()
		counts = append(counts, n)
		total += n
	}
	if got := v.Load(); got != int64(total) {
		t.Fatalf("%d additions counted %d", total, got)
	}
	return counts
}

// TestContendersShare is BenchmarkContend as a test: no addition is lost, and both
// processes get a share.
func TestContendersShare(t *testing.T) {
	counts := contend(t, 2, 300*time.Millisecond)
	if slices.Min(counts) == 0 {
		t.Fatalf("one process was starved: %v", counts)
	}
}

// BenchmarkContend counts millions of locked increments a second by several
// processes, and the share of the one that got least.
func BenchmarkContend(b *testing.B) {
	const d = time.Second
	for _, procs := range []int{2, 4} {
		if procs > 2 && procs > len(cores()) {
			continue // several processes on one core look far faster
		}
		b.Run(fmt.Sprintf("impl=shm.Value/procs=%d", procs), func(b *testing.B) {
			for range b.N {
				counts := contend(b, procs, d)
				total := 0
				for _, n := range counts {
					total += n
				}
				b.ReportMetric(float64(total)/d.Seconds()/1e6, "M/s")
				b.ReportMetric(float64(slices.Min(counts)*procs)/float64(total), "least-share")
			}
		})
		for _, impl := range []string{"robust", "pthread", "futex3", "posixsem", "flock", "ofd", "xadd"} {
			b.Run(fmt.Sprintf("impl=c.%s/procs=%d", impl, procs), func(b *testing.B) {
				for range b.N {
					r := rival(b, impl, "contend", strconv.Itoa(procs), fmt.Sprint(d.Seconds()))
					b.ReportMetric(r.Millions, "M/s")
					b.ReportMetric(r.MinShare*float64(procs), "least-share")
				}
			})
		}
	}
}

// BenchmarkAlone is an uncontended lock, increment and unlock of the rivals in
// C; ours is BenchmarkAdd.
func BenchmarkAlone(b *testing.B) {
	for _, impl := range []string{"robust", "pthread", "futex3", "posixsem", "flock", "ofd", "xadd"} {
		b.Run("impl=c."+impl, func(b *testing.B) {
			n := 10_000_000
			if impl == "flock" || impl == "ofd" {
				n = 100_000
			}
			for range b.N {
				b.ReportMetric(rival(b, impl, "alone", strconv.Itoa(n)).Nanoseconds, "ns/increment")
			}
		})
	}
}
