package surroundings_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// bootHolder takes two locks and keeps them.
var bootHolder = shmtest.Helper("bootHolder", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	mu, err := shm.NewMutex(s, "mutex")
	if err != nil {
		return err
	}
	v, err := shm.NewValue(s, "n", int64(1))
	if err != nil {
		return err
	}
	mu.Lock()
	v.Mutex().Lock()
	v.Raw().Set(7)
	fmt.Println("locked")
	return shmtest.Replies(func([]string) (string, error) { return "locked", nil })
})

// bootOpener opens a segment, looks at its number and ends.
var bootOpener = shmtest.Helper("bootOpener", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := shm.NewValue(s, "n", int64(0))
	if err == nil && v.Load() != 7 {
		err = fmt.Errorf("the number is %d", v.Load())
	}
	return err
})

// startBootHolder returns a segment in a file, as another boot of the system leaves
// it: its header, which the caller may change, has another home. Two of its locks are
// held by a process that lives.
func startBootHolder(t *testing.T) (path string, h *format.Header, holder *shmtest.Process) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "segment")
	holder = shmtest.Start(t, bootHolder, path)
	holder.Expect("locked")
	h = agent.HeaderOf(agent.MapFile(t, path))
	agent.Away(h)
	return path, h, holder
}

// crashed returns a segment in a file as a system that went down leaves it: two
// locks are held, by an id of another boot.
func crashed(t *testing.T) (path string, h *format.Header) {
	t.Helper()
	path, h, holder := startBootHolder(t)
	holder.Kill()
	return path, h
}

// nextID returns the id that the next attachment takes.
func nextID(t *testing.T, h *format.Header) uint64 {
	t.Helper()
	n, ok := h.NextID.Load()
	if !ok {
		t.Fatal("the id counter is damaged")
	}
	return n
}

// After a reboot each lock is taken over by whoever asks for it first.
func TestLocksOfAnEarlierBootAreTakenOver(t *testing.T) {
	path, h := crashed(t)
	before := nextID(t, h)
	away, _ := h.Home.Load()
	s := shmtest.Opened(shm.Open(path, nil))(t)
	if home, _ := h.Home.Load(); home == away {
		t.Fatalf("the home is %#x still", home)
	}
	if next := nextID(t, h); next != before {
		t.Fatalf("the next id is %d, after %d", next, before)
	}
	v := shmtest.Must(shm.NewValue(s, "n", int64(0)))(t)
	for name, mu := range map[string]*shm.Mutex{"mutex": shmtest.Must(shm.NewMutex(s, "mutex"))(t), "n": v.Mutex()} {
		if !mu.TryLock() {
			t.Fatalf("%s: the lock of a dead process cannot be had", name)
		}
		if !mu.Abandoned() {
			t.Fatalf("%s: the next holder is not told that the system went down", name)
		}
		mu.Unlock()
		mu.Lock()
		if mu.Abandoned() {
			t.Fatalf("%s: told twice", name)
		}
		mu.Unlock()
	}
	if got := v.Load(); got != 7 {
		t.Fatalf("the number is %d", got)
	}
}

// Where each container has a boot id of its own, ids are used up no faster than
// elsewhere.
func TestBootsInTurnSkipNoID(t *testing.T) {
	path, h := crashed(t)
	before := nextID(t, h)
	const rounds = 50
	for range rounds {
		agent.Away(h)
		shmtest.Start(t, bootOpener, path).Wait()
	}
	if next := nextID(t, h); next != before+rounds {
		t.Fatalf("after %d processes the next id is %d, it was %d", rounds, next, before)
	}
}

func TestProcessesOpenAfterABootTogether(t *testing.T) {
	path, h := crashed(t)
	before := nextID(t, h)
	const processes = 16
	var all []*shmtest.Process
	for range processes {
		all = append(all, shmtest.Start(t, bootOpener, path))
	}
	for _, p := range all {
		p.Wait()
	}
	if next := nextID(t, h); next < before+processes || next > before+2*processes {
		t.Fatalf("the next id is %d, after %d", next, before)
	}
}

// If a process holds a lease, the file may be shared with a container that has a
// boot id of its own.
func TestLeasesOfAnotherBootAreRespected(t *testing.T) {
	path, h, holder := startBootHolder(t)
	before := nextID(t, h)
	away, _ := h.Home.Load()
	s := shmtest.Opened(shm.Open(path, nil))(t)
	mu := shmtest.Must(shm.NewMutex(s, "mutex"))(t)
	if mu.TryLock() {
		t.Fatal("a holder that lives is robbed")
	}
	if next := nextID(t, h); next != before+1 {
		t.Fatalf("the next id is %d, after %d", next, before)
	}
	if home, _ := h.Home.Load(); home != away {
		t.Fatal("the home has changed while a process uses the segment")
	}
	holder.Kill()
	mu.Lock()
	if !mu.Abandoned() {
		t.Fatal("the next holder is not told that the last one is dead")
	}
	mu.Unlock()
}

// A copy of a segment that is in use may have a counter of ids that is older than
// its locks. No id in a lock word is given out again, so nobody waits for itself.
func TestCopyOfALiveFile(t *testing.T) {
	path, h, holder := startBootHolder(t)
	agent.Away(h) // at home again
	owner := agent.Cell(t, shmtest.Opened(shm.Open(path, nil))(t), "mutex").Word.Load() & format.OwnerMask
	bytes := shmtest.Must(os.ReadFile(path))(t)
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(copied, bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	late := agent.HeaderOf(agent.MapFile(t, copied))
	late.NextID.Store(uint64(owner)) // as cp may have read it before the holder took its id
	s := shmtest.Opened(shm.Open(copied, nil))(t)
	if next := nextID(t, late); next <= uint64(owner) {
		t.Fatalf("the next id of the copy is %d, and a lock has %d", next, owner)
	}
	mu := shmtest.Must(shm.NewMutex(s, "mutex"))(t)
	if !mu.TryLock() || !mu.Abandoned() {
		t.Fatal("the copy's lock cannot be had, or is not marked")
	}
	mu.Unlock()
	original := shmtest.Opened(shm.Open(path, nil))(t)
	if shmtest.Must(shm.NewMutex(original, "mutex"))(t).TryLock() {
		t.Fatal("the holder of the original is robbed")
	}
	holder.Kill()
}
