package crash_test

import (
	"math/rand/v2"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// Processes add under the lock and are killed all the time. Each may have one
// addition in flight that nobody has counted. None waits for ever.
func TestStorm(t *testing.T) {
	t.Parallel()
	const processes = 4
	s, v := agent.Locked(t)
	counts := shmtest.Must(shm.NewRawArray[int64](s, "counts", processes))(t)
	var all [processes]*shmtest.Process
	for i := range all {
		all[i] = shmtest.Start(t, stormer, s.Name(), strconv.Itoa(i))
	}
	kills := 0
	for end := time.Now().Add(*shmtest.StormLength); time.Now().Before(end); {
		time.Sleep(rand.N(10 * time.Millisecond))
		i := rand.IntN(processes)
		if rand.IntN(8) == 0 {
			all[i].Signal(syscall.SIGSTOP)
			time.Sleep(rand.N(10 * time.Millisecond))
			all[i].Signal(syscall.SIGCONT)
		}
		all[i].Kill()
		kills++
		shmtest.Within(t, "another process adds", func() {
			before := v.Load()
			v.Add(0)
			for v.Load() == before {
				runtime.Gosched()
			}
		})
		all[i] = shmtest.Start(t, stormer, s.Name(), strconv.Itoa(i))
	}
	for _, p := range all {
		p.Kill()
		kills++
	}
	shmtest.Within(t, "the lock at the end", v.Mutex().Lock)
	defer v.Mutex().Unlock()
	counted := int64(0)
	for _, n := range counts.All() {
		counted += n
	}
	// A process counts an addition for itself after it has made it, both under the
	// lock.
	if got := v.Raw().Get(); got < counted || got > counted+int64(kills) {
		t.Fatalf("%d additions were counted, the number is %d, after %d kills", counted, got, kills)
	}
	t.Logf("%d kills, %d additions, %d in flight", kills, counted, v.Raw().Get()-counted)
}

// stormer adds, in two goroutines, until it is killed. Its arguments are the
// segment and its place among those that add.
var stormer = shmtest.Helper("stormer", func(args []string) error {
	s, err := shm.Open(args[0], agent.Modest)
	if err != nil {
		return err
	}
	v, err := shm.NewValue[int64](s, agent.ValueName, 0)
	if err != nil {
		return err
	}
	counts, err := shm.NewRawArray[int64](s, "counts", 0)
	if err != nil {
		return err
	}
	i, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	add := func() {
		v.Mutex().Lock()
		v.Raw().Set(v.Raw().Get() + 1)
		counts.Set(i, counts.Get(i)+1)
		v.Mutex().Unlock()
	}
	go func() {
		for {
			add()
		}
	}()
	for {
		add()
		if v.Mutex().TryLock() {
			v.Mutex().Unlock()
		}
	}
})
