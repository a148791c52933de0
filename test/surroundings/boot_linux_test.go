package surroundings_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
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

// thisBoot is what the header of a segment has for this boot of the system.
func thisBoot() uint64 { return format.BootStamp(sys.BootID()) }

// startBootHolder returns a segment in a file, as another boot of the system leaves
// it: its header, which the caller may change, has another boot. Two of its locks are
// held by a process that lives.
func startBootHolder(t *testing.T) (path string, h *format.Header, holder *shmtest.Process) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "segment")
	holder = shmtest.Start(t, bootHolder, path)
	holder.Expect("locked")
	h = agent.HeaderOf(agent.MapFile(t, path))
	h.Boot.Store((thisBoot() + 2) & format.SealedMax)
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

func TestLocksOfAnEarlierBootAreFree(t *testing.T) {
	path, h := crashed(t)
	before := nextID(t, h)
	s := shmtest.Opened(shm.Open(path, nil))(t)
	if boot, _ := h.Boot.Load(); boot != thisBoot() {
		t.Fatalf("boot %#x, this is %#x", boot, thisBoot())
	}
	if next := nextID(t, h); next != before+1<<20 {
		t.Fatalf("the next id is %d, after %d", next, before)
	}
	v := shmtest.Must(shm.NewValue(s, "n", int64(0)))(t)
	for name, mu := range map[string]*shm.Mutex{"mutex": shmtest.Must(shm.NewMutex(s, "mutex"))(t), "n": v.Mutex()} {
		cell := agent.Cell(t, s, name)
		if w := cell.Word.Load(); w != 0 {
			t.Fatalf("%s: the word is %#x", name, w)
		}
		if n := cell.Takeovers.Load(); n != 0 {
			t.Fatalf("%s: %d takeovers", name, n)
		}
		mu.Lock()
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
	if next := nextID(t, h); next < before+1<<20+processes || next >= before+2<<20 {
		t.Fatalf("the next id is %d, after %d", next, before)
	}
}

// If a process holds a lease, the file may be shared with another host, whose boot
// is the other one.
func TestLeasesOfAnotherHostAreRespected(t *testing.T) {
	path, h, holder := startBootHolder(t)
	before := nextID(t, h)
	s := shmtest.Opened(shm.Open(path, nil))(t)
	mu := shmtest.Must(shm.NewMutex(s, "mutex"))(t)
	if mu.TryLock() {
		t.Fatal("a holder that lives is robbed")
	}
	if next := nextID(t, h); next >= before+1<<20 {
		t.Fatalf("the next id is %d, after %d", next, before)
	}
	if boot, _ := h.Boot.Load(); boot == thisBoot() {
		t.Fatal("the boot is taken for this one")
	}
	holder.Kill()
	mu.Lock()
	if !mu.Abandoned() {
		t.Fatal("the next holder is not told that the last one is dead")
	}
	mu.Unlock()
}
