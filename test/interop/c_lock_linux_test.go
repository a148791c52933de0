package interop_test

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"example.org/shm/test/agent"
)

// The mark that a holder has died stays until a holder has asked for it and has
// said that the data are consistent.
func TestCAbandonedStays(t *testing.T) {
	s, v := agent.Locked(t)
	name := s.Name()
	holder := startCAgent(t, name)
	holder.Do("addSlowly 1", "inside")
	holder.Kill()
	p := startCAgent(t, name)
	p.Do("add 3", "added")
	p.Do("lock", "locked")
	p.Do("abandoned", "true")
	p.Do("unlock", "unlocked")
	p.Do("lock", "locked")
	p.Do("abandoned", "true")
	p.Kill()
	v.Mutex().Lock()
	defer v.Mutex().Unlock()
	if !v.Mutex().Abandoned() || v.Raw().Get() != 4 {
		t.Fatalf("abandoned %v, number %d", v.Mutex().Abandoned(), v.Raw().Get())
	}
}

// Threads in C and goroutines wait for one lock, also while it is held for long.
func TestCThreads(t *testing.T) {
	s, v := agent.Locked(t)
	name, c := s.Name(), agent.Cell(t, s, agent.ValueName)
	p, q, other := startCAgent(t, name), startCAgent(t, name), agent.Start(t, name)
	v.Mutex().Lock()
	p.Say("crowd 20")
	q.Say("crowd 20")
	other.Say("crowd 20")
	agent.Sleeping(t, c, true)
	v.Mutex().Unlock()
	for _, who := range []*shmtest.Process{p, q, other} {
		who.Expect("through")
	}
	p.Say("threads 10000")
	q.Say("threads 10000")
	other.Say("add 20000")
	p.Expect("through")
	q.Expect("through")
	other.Expect("added")
	if got, want := v.Load(), int64(3*20+2*4*10000+20000); got != want {
		t.Fatalf("%d additions counted %d", want, got)
	}
	if w := c.Word.Load(); w != 0 {
		t.Fatalf("word %#x at rest", w)
	}
}

// A C process that unlocks reserves the lock for a process that has waited long,
// and a C process takes the reservation once it has slept.
func TestCReserves(t *testing.T) {
	s, _ := agent.Locked(t)
	name, c := s.Name(), agent.Cell(t, s, agent.ValueName)
	p, q := startCAgent(t, name), startCAgent(t, name)
	shmtest.Eventually(t, "a reservation", func() bool {
		p.Do("lock", "locked")
		held := c.Word.Or(format.KernelWaiters) | format.KernelWaiters
		c.Starve.Store(format.StarveKernel)
		awake := make(chan struct{})
		go func() {
			defer close(awake)
			sys.FutexWait(&c.Word, held, sys.AnyBit, time.Second)
		}()
		time.Sleep(time.Millisecond) // The waiter usually sleeps by then. If not, the next round decides.
		p.Do("unlock", "unlocked")
		reserved := c.Word.Load() == format.KernelWaiters
		sys.FutexWake(&c.Word, 1, sys.AnyBit)
		<-awake
		return reserved
	})
	if starve := c.Starve.Load(); starve != 0 {
		t.Fatalf("starve is %d after the lock was reserved", starve)
	}
	q.Do("lock", "locked")
	q.Do("unlock", "unlocked")
	if w := c.Word.Load(); w != 0 {
		t.Fatalf("word %#x at rest", w)
	}
}

// A waiter in C that gives up leaves nothing behind. One that does not give up
// gets the lock, from a live holder and from a dead one.
func TestCGivesUp(t *testing.T) {
	s, v := agent.Locked(t)
	name, c, mu := s.Name(), agent.Cell(t, s, agent.ValueName), v.Mutex()
	p, q := startCAgent(t, name), startCAgent(t, name)
	for i := range 20 {
		mu.Lock()
		p.Do(fmt.Sprint("lockFor ", []int{0, 2, 15}[i%3]), "gave up")
		mu.Unlock()
		q.Do("trylock", "true")
		p.Do("lockFor 0", "gave up")
		q.Do("unlock", "unlocked")
		if w := c.Word.Load(); w != 0 {
			t.Fatalf("word %#x at rest", w)
		}
	}
	mu.Lock()
	p.Say("lockFor 20000")
	agent.Sleeping(t, c, true)
	// A second waiter that sleeps and gives up takes no wake-up away.
	q.Do("lockFor 10", "gave up")
	mu.Unlock()
	p.Expect("locked")
	q.Say("lockFor 20000")
	agent.Sleeping(t, c, false)
	p.Kill()
	q.Expect("locked")
	q.Do("abandoned", "true")
}

// A C process sleeps until a number is the awaited one, and until a value is
// made.
func TestCAwaits(t *testing.T) {
	s, v := agent.Locked(t)
	name := s.Name()
	p, other := startCAgent(t, name), startCAgent(t, name)
	change := &agent.Cell(t, s, agent.ValueName).Change.Word
	for i := range 20 {
		p.Say(fmt.Sprint("await ", 2*i+2))
		for range 2 {
			shmtest.Eventually(t, "C awaits", func() bool { return change.Load()&format.Awaited != 0 })
			v.Add(1)
		}
		p.Expect(fmt.Sprint("saw ", 2*i+2))
	}
	p.Do("awaitFor 5", "gave up")
	names := &agent.Header(t, s).Names.Word
	for _, who := range []*shmtest.Process{p, other} {
		who.Say("waitFor 0")
	}
	shmtest.Eventually(t, "C awaits a name", func() bool { return names.Load()&format.Awaited != 0 })
	shmtest.Must(shm.NewRawValue[int64](s, "other", 1))(t)
	shmtest.Eventually(t, "C awaits a name", func() bool { return names.Load()&format.Awaited != 0 })
	shmtest.Must(shm.NewRawValue[int64](s, "made", 7))(t)
	p.Expect("made 7")
	other.Expect("made 7")
	// A holder dies after it has changed the number. The next holder wakes those
	// who await a change.
	p.Do("addSlowly 100", "inside")
	change.And(^uint32(format.Awaited))
	other.Say("await 140")
	other.Expect("saw 140") // The lock is not free yet.
	other.Say("await 141")
	shmtest.Eventually(t, "C awaits", func() bool { return change.Load()&format.Awaited != 0 })
	before := change.Load()
	p.Kill()
	shmtest.Within(t, "the lock of a dead holder is taken", v.Mutex().Lock)
	if change.Load()&^format.Awaited == before&^format.Awaited {
		t.Fatal("those who await a change are not woken after a death")
	}
	v.Raw().Set(141)
	v.Mutex().Unlock()
	other.Expect("saw 141")
}

// A change in C wakes a process in Go that awaits it.
func TestCStoresAreAwaited(t *testing.T) {
	s, _ := agent.Locked(t)
	name := s.Name()
	waiter, p := agent.Start(t, name), startCAgent(t, name)
	change := &agent.Cell(t, s, agent.ValueName).Change.Word
	for i := range 20 {
		waiter.Say(fmt.Sprint("await ", i+1))
		shmtest.Eventually(t, "Go awaits", func() bool { return change.Load()&format.Awaited != 0 })
		before := change.Load()
		p.Do("add 1", "added")
		if change.Load()&^format.Awaited == before&^format.Awaited {
			t.Fatal("the change does not wake who awaits it")
		}
		waiter.Expect(fmt.Sprint("saw ", i+1, " <nil>"))
	}
}

// A C process forks while it holds the lock. The child neither holds the lock nor
// keeps its parent's lease.
func TestCForks(t *testing.T) {
	s, v := agent.Locked(t)
	p := startC(t, "forks", s.Name())
	pid, err := strconv.Atoi(strings.TrimPrefix(p.Line(), "child "))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	if v.Mutex().TryLock() {
		t.Fatal("the child has unlocked its parent's lock")
	}
	if err := p.Cmd.Process.Kill(); err != nil { // No Wait: it would close the input that the child shares.
		t.Fatal(err)
	}
	shmtest.Within(t, "the lock of a dead holder whose child lives is taken", v.Mutex().Lock)
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatal(err)
	}
	if !v.Mutex().Abandoned() {
		t.Fatal("the next holder is not told that the parent died")
	}
	v.Mutex().Unlock()
	p.Say("")
	p.Expect("child added")
	p.Expect("grandchild added")
	if got := v.Load(); got != 2 {
		t.Fatalf("the number is %d", got)
	}
}

// crashed returns a segment in a file as a system that went down leaves it: two
// locks are held, by an id of another boot.
func crashed(t *testing.T) (path string, nextID uint64) {
	t.Helper()
	if sys.BootID() == "" {
		t.Skip("the system does not tell its boots apart")
	}
	path = filepath.Join(t.TempDir(), "segment")
	p := agent.Start(t, path)
	p.Do("lock", "locked")
	p.Do("lockAll 1", "locked")
	p.Kill()
	h := agent.HeaderOf(agent.MapFile(t, path))
	agent.Away(h)
	nextID, _ = h.NextID.Load()
	return path, nextID
}

// A C process takes over the locks that were held when the system went down.
func TestCAfterAReboot(t *testing.T) {
	path, before := crashed(t)
	p := startCAgent(t, path)
	p.Do("lock", "locked")
	p.Do("abandoned", "true")
	p.Do("consistent", "consistent")
	p.Do("unlock", "unlocked")
	s := shmtest.Opened(shm.Open(path, nil))(t)
	h := agent.Header(t, s)
	if next, _ := h.NextID.Load(); next != before+1 {
		t.Fatalf("the next id is %d, it was %d", next, before)
	}
	for name, takeovers := range map[string]uint32{agent.ValueName: 1, "mutex0": 0} {
		if n := agent.Cell(t, s, name).Takeovers.Load(); n != takeovers {
			t.Fatalf("%s: %d takeovers", name, n)
		}
	}
}
