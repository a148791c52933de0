package shm_test

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

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

// Two processes that add to one number on two cores lose nothing, and both get a
// share.
func TestContendersShare(t *testing.T) {
	counts := contend(t, 2, 300*time.Millisecond)
	if slices.Min(counts) == 0 {
		t.Fatalf("one process was starved: %v", counts)
	}
}
