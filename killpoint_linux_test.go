//go:build killpoints

package shm

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// The values of the test's segment, whose parts check each other.
type (
	killedPair  struct{ A, B int64 }
	killedTrio  struct{ A, B, C int64 } // a later version
	killedWorld struct {
		N      Value[int64]       `shm:"n"`
		Orphan *Mutex             `shm:"orphan"`
		Pair   Struct[killedPair] `shm:"pair"`
		Text   String             `shm:"text,len=16"`
		Row    Array[int64]       `shm:"row,len=2"`
	}
)

// orphanage makes the segment and then waits to be killed with two locks held.
var orphanage = helper("orphanage", func(args []string) error {
	var w killedWorld
	s, err := Open(args[0], nil)
	if err == nil {
		err = Bind(s, &w)
	}
	if err != nil {
		return err
	}
	w.Orphan.Lock()
	w.N.Mutex().Lock()
	fmt.Println("held")
	select {}
})

// victim passes all kill points, and is killed at one of them.
var victim = helper("victim", func(args []string) error {
	// Attaching: the boot before left locks behind, and a dead allocator its dirt.
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	var w killedWorld
	if err := Bind(s, &w); err != nil {
		return err
	}
	mu := w.N.Mutex()

	// Allocating and growing.
	if _, err := NewRawArray[byte](s, "large", 1<<20); err != nil {
		return err
	}
	if _, err := NewStruct(s, "another", killedPair{1, 1}); err != nil {
		return err
	}
	later, err := NewStruct(s, "pair", killedTrio{})
	if err != nil {
		return err
	}

	// Publishing, in place and in slots.
	later.Update(func(p *killedTrio) { p.A, p.B, p.C = p.A+1, p.B+1, p.C+1 })
	w.Pair.Update(func(p *killedPair) { p.A, p.B = p.A+1, p.B+1 })
	e, _ := s.Lookup("pair")
	if err := e.Parse(`{"A": 7, "B": 7}`); err != nil {
		return err
	}
	for _, text := range []string{"first", "second"} {
		if err := w.Text.Store(text); err != nil {
			return err
		}
	}
	w.Row.Store(0, 5)
	w.Row.Add(1, 6)
	func() {
		defer func() { _ = recover() }()
		w.Row.WithLock(func([]int64) { panic("halfway") })
	}()
	w.N.Add(1)

	// Locking without anybody else, and after an owner that died in this boot.
	if err := mu.LockContext(context.Background()); err != nil {
		return err
	}
	mu.Unlock()
	if !mu.TryLock() {
		return errors.New("a free lock refused TryLock")
	}
	mu.Unlock()
	if err := mu.lockSlow(context.Background()); err != nil { // it was released on the way there
		return err
	}
	mu.Unlock()
	late, err := spawnAgent(args[0])
	if err != nil {
		return err
	}
	late.tell("lock")
	late.kill()
	mu.Lock()
	mu.Abandoned()
	mu.Unlock()

	// Goroutines against each other; first some that queue, all behind one.
	var wg sync.WaitGroup
	mu.Lock()
	for range 3 {
		wg.Go(func() { w.N.Add(1) })
	}
	for queued := 0; queued < 3; runtime.Gosched() {
		mu.queue.mu.Lock()
		queued = 0
		for q := mu.queue.head; q != nil; q = q.next {
			queued++
		}
		mu.queue.mu.Unlock()
	}
	mu.Unlock()
	wg.Wait()
	for range 8 {
		wg.Go(func() {
			for range 3000 {
				w.N.Add(1)
			}
		})
	}
	wg.Wait()

	// Against another process: one that waits long, dies waiting, or holds.
	rival, err := spawnAgent(args[0])
	if err != nil {
		return err
	}
	for _, dies := range []bool{false, true} {
		mu.Lock()
		rival.say("add 1")
		for mu.cell.starve.Load() == 0 {
			runtime.Gosched()
		}
		if dies {
			rival.kill()
		}
		mu.Unlock()
		if !dies {
			rival.answer()
		}
	}
	if rival, err = spawnAgent(args[0]); err != nil {
		return err
	}
	rival.tell("lockAll 40")
	for i := range 40 {
		other, err := NewMutex(s, fmt.Sprint("mutex", i))
		if err != nil {
			return err
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			if other.LockContext(ctx) == nil {
				panic("a living owner was robbed")
			}
		})
	}
	wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if hog, err := spawnAgent(args[0]); err == nil {
		hog.say("hog")
		for range 20 {
			w.N.Add(1)
		}
		hog.kill()
		w.N.Add(1)
	}

	// Awaiting, and being awaited.
	_, _ = w.N.Await(ctx, func(x int64) bool { return x < 0 })
	rival.tell("goAwait 1")
	for mu.change.word.Load()&awaited == 0 {
		runtime.Gosched()
	}
	w.N.Add(1)

	// A reservation that nobody comes for, as a dead waiter leaves it.
	mu.cell.word.Store(wordW)
	mu.cell.probed.Store(0)
	if !mu.TryLock() {
		return errors.New("a forgotten reservation refused TryLock")
	}
	mu.Unlock()
	return nil
})

// killedAgent is an agent that a helper started, and that dies with it.
type killedAgent struct {
	cmd   *exec.Cmd
	in    io.Writer
	lines *bufio.Scanner
}

func spawnAgent(path string) (*killedAgent, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, path)
	cmd.Env = append(os.Environ(), helperVariable+"="+agent, "SHM_KILL_AT=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	a := &killedAgent{cmd, in, bufio.NewScanner(out)}
	runtime.LockOSThread() // whose death Pdeathsig means
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	a.answer()
	return a, nil
}

func (a *killedAgent) say(line string) { fmt.Fprintln(a.in, line) }

func (a *killedAgent) answer() string {
	a.lines.Scan()
	return a.lines.Text()
}

func (a *killedAgent) tell(line string) string {
	a.say(line)
	return a.answer()
}

func (a *killedAgent) kill() {
	_ = a.cmd.Process.Kill()
	_ = a.cmd.Wait()
}

// pastBoot makes a file look as an earlier boot of the system and an allocator
// that died have left it.
func pastBoot(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	word := func(off uintptr) uint64 {
		var b [8]byte
		if _, err := f.ReadAt(b[:], int64(off)); err != nil {
			t.Fatal(err)
		}
		n, ok := unseal(binary.NativeEndian.Uint64(b[:]))
		if !ok {
			t.Fatalf("header word at %d", off)
		}
		return n
	}
	put := func(off int64, b []byte) {
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
	var h header
	used := word(unsafe.Offsetof(h.used))
	put(int64(unsafe.Offsetof(h.boot)), binary.NativeEndian.AppendUint64(nil, seal(bootID()^2)))
	put(int64(used*line), []byte(strings.Repeat("dirt", 64)))
	put(int64(unsafe.Offsetof(h.dirty)), binary.NativeEndian.AppendUint64(nil, seal(used+4)))
}

// TestKillPoints kills a process at each store of the lock, allocate, grow and
// publish paths, the first and a later time it gets there; then everything must
// be in order for whoever comes.
func TestKillPoints(t *testing.T) {
	last := 0
	for _, file := range killPointFiles {
		last += pointsIn(t, file)
	}
	passes := []string{"0", "1", "7"}
	if testing.Short() {
		passes = passes[:1]
	}
	for point := 1; point <= last; point++ {
		for i, after := range passes {
			if !killedAt(t, point, after) {
				if i == 0 {
					t.Errorf("point %d is never passed", point)
				}
				break // it is passed less often
			}
		}
	}
}

// killedAt reports whether the victim got to a point once more than so often.
func killedAt(t *testing.T, point int, after string) bool {
	t.Helper()
	path := filepath.Join(t.TempDir(), "segment")
	maker := start(t, orphanage, path)
	maker.expect("held")
	maker.kill()
	pastBoot(t, path)
	p := startCmd(t, victim, func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, fmt.Sprint("SHM_KILL_AT=", point), "SHM_KILL_AFTER="+after)
	}, path)
	for p.lines.Scan() {
	}
	err := p.cmd.Wait()
	var exit *exec.ExitError
	killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	if err != nil && !killed {
		t.Fatalf("point %d after %s: victim: %v", point, after, err)
	}
	inOrder(t, fmt.Sprintf("point %d after %s", point, after), path)
	return killed
}

// inOrder checks every invariant, from a process that comes later, and goes on.
func inOrder(t *testing.T, where, path string) {
	t.Helper()
	s, err := Open(path, &Options{MustExist: true})
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	defer s.Close()
	var w killedWorld
	if err := Bind(s, &w); err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: %s", where, fmt.Sprintf(format, args...))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, mu := range []*Mutex{w.N.Mutex(), w.Orphan, w.Pair.Mutex(), w.Text.Mutex(), w.Row.Mutex()} {
		if err := mu.LockContext(ctx); err != nil {
			fail("%v (word %#x)", err, mu.cell.word.Load())
			return
		}
		mu.Unlock()
	}
	if p := w.Pair.Load(); p.A != p.B {
		fail("half a struct: %+v", p)
	}
	if later, err := NewStruct(s, "pair", killedTrio{}); err != nil {
		fail("%v", err)
	} else {
		before := later.Load()
		w.Pair.Update(func(p *killedPair) { p.A, p.B = 1, 1 })
		if p := later.Load(); p != (killedTrio{1, 1, before.C}) || before.C > 1 {
			fail("a later version has %+v, and had %+v", p, before)
		}
	}
	if text := w.Text.Load(); text != "" && text != "first" && text != "second" {
		fail("text %q", text)
	}
	if a, b := w.Row.Load(0), w.Row.Load(1); a != 0 && a != 5 || b != 0 && b != 6 {
		fail("array of %d, %d", a, b)
	}
	if n := w.N.Load(); n < 0 || n > math.MaxInt32 {
		fail("number %d", n)
	}
	before := w.N.Load()
	if got := w.N.Add(1); got != before+1 {
		fail("%d and 1 is %d", before, got)
	}
	if another, err := NewStruct(s, "another", killedPair{2, 2}); err != nil {
		fail("%v", err)
	} else if p := another.Load(); p != (killedPair{1, 1}) && p != (killedPair{2, 2}) {
		fail("a struct started as %+v", p)
	}
	fresh, err := NewRawArray[byte](s, "fresh", 4096)
	if err != nil {
		fail("%v", err)
		return
	}
	for i, b := range fresh.All() {
		if b != 0 {
			fail("byte %d of a new array is %d", i, b)
			break
		}
	}
}

func pointsIn(t *testing.T, file string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "killPoint(")
}
