package shm

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"unsafe"
)

// holder locks what it is told of and keeps it.
var bootHolder = helper("bootHolder", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	mu, err := NewMutex(s, "mutex")
	if err != nil {
		return err
	}
	v, err := NewValue(s, "n", int64(1))
	if err != nil {
		return err
	}
	mu.Lock()
	v.Mutex().Lock()
	v.Raw().Set(7)
	return replies(func([]string) (string, error) { return "locked", nil })
})

// bootOpener opens a segment, looks at its number and ends.
var bootOpener = helper("bootOpener", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := NewValue(s, "n", int64(0))
	if err == nil && v.Load() != 7 {
		err = fmt.Errorf("the number is %d", v.Load())
	}
	return err
})

// patchWord replaces a sealed word of a segment's file by what change makes of
// its number, and returns what it was.
func patchWord(t *testing.T, path string, off uintptr, change func(uint64) uint64) uint64 {
	t.Helper()
	f := must(os.OpenFile(path, os.O_RDWR, 0))(t)
	defer f.Close()
	b := make([]byte, 8)
	if _, err := f.ReadAt(b, int64(off)); err != nil {
		t.Fatal(err)
	}
	n, ok := unseal(binary.NativeEndian.Uint64(b))
	if !ok {
		t.Fatalf("no sealed word at %d", off)
	}
	binary.NativeEndian.PutUint64(b, seal(change(n)))
	if _, err := f.WriteAt(b, int64(off)); err != nil {
		t.Fatal(err)
	}
	return n
}

const bootOffset, nextIDOffset = unsafe.Offsetof(header{}.boot), unsafe.Offsetof(header{}.nextID)

func same(n uint64) uint64        { return n }
func anotherBoot(n uint64) uint64 { return (n + 2) & sealedMax }

// crashed returns a segment in a file as a system that went down leaves it: two
// locks are held, by an id of another boot.
func crashed(t *testing.T) (path string, nextID uint64) {
	path = filepath.Join(t.TempDir(), "segment")
	p := start(t, bootHolder, path)
	p.say("")
	p.expect("locked")
	p.kill()
	patchWord(t, path, bootOffset, anotherBoot)
	return path, patchWord(t, path, nextIDOffset, same)
}

func TestLocksOfAnEarlierBootAreFree(t *testing.T) {
	path, before := crashed(t)
	s := open(t, path, nil)
	h := s.m.Load().header
	if boot, _ := h.boot.load(); boot != bootID() {
		t.Fatalf("boot %#x, this is %#x", boot, bootID())
	}
	if next, _ := h.nextID.load(); next != before+1<<20 {
		t.Fatalf("the next id is %d, after %d", next, before)
	}
	v := must(NewValue(s, "n", int64(0)))(t)
	for _, mu := range []*Mutex{must(NewMutex(s, "mutex"))(t), v.Mutex()} {
		if w := mu.cell.word.Load(); w != 0 {
			t.Fatalf("the word is %#x", w)
		}
		if n := mu.cell.takeovers.Load(); n != 0 {
			t.Fatalf("%d takeovers", n)
		}
		mu.Lock()
		if !mu.Abandoned() {
			t.Fatal("nobody is told that the holder went down")
		}
		mu.Unlock()
		mu.Lock()
		if mu.Abandoned() {
			t.Fatal("told twice")
		}
		mu.Unlock()
	}
	if got := v.Load(); got != 7 {
		t.Fatalf("the number is %d", got)
	}
}

func TestProcessesOpenAfterABootTogether(t *testing.T) {
	path, before := crashed(t)
	const procs = 16
	var all []*process
	for range procs {
		all = append(all, start(t, bootOpener, path))
	}
	for _, p := range all {
		p.wait()
	}
	if next := patchWord(t, path, nextIDOffset, same); next < before+1<<20+procs || next >= before+2<<20 {
		t.Fatalf("the next id is %d, after %d", next, before)
	}
}

// TestLeasesOfAnotherHostAreRespected: where a lease is held, another host may
// share the file, and the other boot is that host's.
func TestLeasesOfAnotherHostAreRespected(t *testing.T) {
	path := filepath.Join(t.TempDir(), "segment")
	p := start(t, bootHolder, path)
	p.say("")
	p.expect("locked")
	patchWord(t, path, bootOffset, anotherBoot)
	before := patchWord(t, path, nextIDOffset, same)
	s := open(t, path, nil)
	mu := must(NewMutex(s, "mutex"))(t)
	if mu.TryLock() {
		t.Fatal("a holder that lives is robbed")
	}
	h := s.m.Load().header
	if next, _ := h.nextID.load(); next >= before+1<<20 {
		t.Fatalf("the next id is %d, after %d", next, before)
	}
	if boot, _ := h.boot.load(); boot == bootID() {
		t.Fatal("the boot is taken for this one")
	}
	p.kill()
	mu.Lock()
	if !mu.Abandoned() {
		t.Fatal("nobody is told that the holder is dead")
	}
	mu.Unlock()
}
