package shm

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Go, C and Python at the same values: c/test.c and python/tests/peer.py have
// what the helpers here have.

// interpreter is a CPython that can run the package.
type interpreter struct{ path, version string }

// interpreters are those of the search path, each version once, python3 first.
// The error says why there is none.
var interpreters = sync.OnceValues(func() (found []interpreter, err error) {
	err = errors.New("no python3")
	seen := map[string]bool{}
	for _, name := range []string{"python3", "python3.9", "python3.10", "python3.11", "python3.12", "python3.13"} {
		for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
			path, e := exec.LookPath(filepath.Join(dir, name))
			if e != nil {
				continue
			}
			if real, e := filepath.EvalSymlinks(path); e == nil {
				if seen[real] {
					continue
				}
				seen[real] = true
			}
			version, e := askPython(path)
			if e != nil {
				err = e
				continue
			}
			if !seen[version] {
				seen[version] = true
				found = append(found, interpreter{path, version})
			}
		}
	}
	return found, err
})

// askPython returns the version of an interpreter, or why it is no use.
func askPython(path string) (version string, err error) {
	cmd := exec.Command(path, "-c", "import sys, ctypes, unittest\n"+
		"if sys.version_info < (3, 9): sys.exit('older than 3.9')\n"+
		"if sys.maxsize < 2**32: sys.exit('32 bits')\n"+
		"import shm\n"+
		"print('.'.join(map(str, sys.version_info[:3])))\n"+
		"sys.exit(shm.atomics.unavailable)")
	cmd.Dir = "python"
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	var out, why bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &why
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s is no use: %w: %s", path, err, bytes.TrimSpace(why.Bytes()))
	}
	return strings.TrimSpace(out.String()), nil
}

// findPython skips the test where there is no Python that can do it.
func findPython(t testing.TB) string {
	t.Helper()
	all, err := interpreters()
	if len(all) == 0 {
		t.Skip(err)
	}
	return all[0].path
}

// language is one in which a process takes part.
type language struct {
	name    string
	helper  func(t testing.TB, mode, segment string, args ...string) *process
	mending string // what its agent says to be done with the mark; "": asking is enough
}

// languages are those that this machine has; Go is the first.
func languages(t testing.TB) []language {
	all := []language{{"Go", func(t testing.TB, mode, segment string, args ...string) *process {
		return start(t, mode, append([]string{segment}, args...)...)
	}, ""}}
	if _, err := exec.LookPath("gcc"); err == nil {
		compileC(t) // now: later others keep the processors busy
		all = append(all, language{"C", func(t testing.TB, mode, segment string, args ...string) *process {
			return startC(t, append([]string{mode, segment}, args...)...)
		}, "consistent"})
	}
	if pythons, _ := interpreters(); len(pythons) > 0 {
		all = append(all, language{"Python", func(t testing.TB, mode, segment string, args ...string) *process {
			cmd := exec.Command(pythons[0].path, append([]string{"-m", "tests.peer", mode, segment}, args...)...)
			cmd.Dir = "python"
			cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
			cmd.Stderr = os.Stderr
			return startProgram(t, cmd)
		}, ""})
	}
	if len(all) == 1 {
		t.Skip("neither gcc nor Python")
	}
	return all
}

// A holder in one language is killed; one in another follows, however it asks,
// and is told.
func TestKilledHolderOfAnotherLanguage(t *testing.T) {
	all := languages(t)
	for _, dead := range all {
		for _, next := range all {
			if dead.name == next.name {
				continue
			}
			t.Run(dead.name+" then "+next.name, func(t *testing.T) {
				t.Parallel()
				followsDead(t, dead, next)
			})
		}
	}
}

func followsDead(t *testing.T, dead, next language) {
	name, v := locked(t)
	waiter := next.helper(t, agent, name)
	waiter.expect("ready")
	want, rounds := int64(0), 8
	if dead.name == "Python" {
		rounds = 4 // its start takes time
	}
	for round := range rounds {
		holder := dead.helper(t, agent, name)
		holder.expect("ready")
		holder.must(fmt.Sprint("addSlowly ", round/4%2), "inside")
		want += int64(round / 4 % 2)
		how := []string{"asleep", "long asleep", "late", "try"}[round%4]
		switch how {
		case "asleep":
			waiter.say("lock")
			sleeping(t, v.Mutex(), false)
		case "long asleep":
			waiter.say("lock")
			sleeping(t, v.Mutex(), true)
		case "try":
			waiter.must("trylock", "false")
			waiter.must("lockFor 10", "gave up")
		}
		holder.kill()
		died := time.Now()
		within(t, "the lock of a dead holder, "+how, func() {
			switch how {
			case "late":
				waiter.say("lock")
			case "try":
				for waiter.tell("trylock") != "true" {
					time.Sleep(time.Millisecond)
				}
				return
			}
			waiter.expect("locked")
		})
		t.Logf("%s: %v", how, time.Since(died))
		for range 2 {
			waiter.must("abandoned", "true")
		}
		if next.mending != "" {
			waiter.must(next.mending, next.mending)
		}
		waiter.must("unlock", "unlocked")
		waiter.must("lock", "locked")
		waiter.must("abandoned", "false")
		waiter.must("unlock", "unlocked")
		if w := v.Mutex().cell.word.Load(); w != 0 {
			t.Fatalf("%s: word %#x at rest", how, w)
		}
	}
	if got := v.Load(); got != want {
		t.Fatalf("count %d, want %d", got, want)
	}
	if got := v.Mutex().cell.takeovers.Load(); got != uint32(rounds) {
		t.Fatalf("%d takeovers", got)
	}
}

// cSteady is a struct whose numbers hang together.
type cSteady struct {
	N   int64     `shm:"n"`
	All [40]int64 `shm:"all"`
}

func (x *cSteady) step() {
	x.N++
	for i := range x.All {
		x.All[i] = x.N * int64(i+1)
	}
}

func (x *cSteady) whole() bool {
	for i, n := range x.All {
		if n != x.N*int64(i+1) {
			return false
		}
	}
	return true
}

// stormed is what the processes of a storm share.
type stormed struct {
	N      Value[int64]    `shm:"n"`
	Counts RawArray[int64] `shm:"counts,len=6"`
	Steady Struct[cSteady] `shm:"steady"`
	Text   String          `shm:"text,len=64"`
}

// storm changes all there is until it is killed, and says so once it has been
// through. Whatever is half of something ends it.
var storm = helper("storm", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	var all stormed
	if err := Bind(s, &all); err != nil {
		return err
	}
	i, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	add := func() {
		all.N.Mutex().Lock()
		all.N.Raw().Set(all.N.Raw().Get() + 1)
		all.Counts.Set(i, all.Counts.Get(i)+1)
		all.N.Mutex().Unlock()
	}
	go func() {
		for {
			add()
		}
	}()
	for last := int64(0); ; {
		for range 4 {
			add()
		}
		all.Steady.Update(func(x *cSteady) {
			if !x.whole() || x.N < last {
				err = fmt.Errorf("after %d: %v", last, x)
			}
			x.step()
		})
		if x := all.Steady.Load(); !x.whole() || x.N < last {
			return fmt.Errorf("after %d: %v", last, x)
		} else if err == nil {
			first := last == 0
			last = x.N
			err = all.Text.Store(strings.Repeat(string(rune('a'+i)), int(1+last%64)))
			if first {
				fmt.Println("ready")
			}
		}
		if x := all.Text.Load(); x == "" || strings.Trim(x, x[:1]) != "" {
			return fmt.Errorf("a text %q", x)
		}
		if err != nil {
			return err
		}
	}
})

// A segment and its values are made in one language, and the others find in it
// what they mean.
func TestMadeInAnyLanguage(t *testing.T) {
	all := languages(t)
	for i, first := range all {
		t.Run(first.name, func(t *testing.T) {
			t.Parallel()
			name := testName(t)
			for j := range all {
				who := all[(i+j)%len(all)]
				p := who.helper(t, storm, name, strconv.Itoa(j))
				within(t, who.name+" gets through", func() { p.expect("ready") })
				p.kill()
			}
			var found stormed
			if err := Bind(open(t, name, &Options{MustExist: true}), &found); err != nil {
				t.Fatal(err)
			}
			if steady := found.Steady.Load(); !steady.whole() || steady.N < int64(len(all)) {
				t.Fatalf("steady is %v", steady)
			}
			for j := range all {
				if found.Counts.Get(j) == 0 {
					t.Errorf("no additions in %s", all[(i+j)%len(all)].name)
				}
			}
		})
	}
}

// Processes in all languages change the same values and are killed all the time:
// each may have had one addition in flight that nobody counts, nothing is ever
// half, and nobody gets stuck.
func TestStormOfLanguages(t *testing.T) {
	known := languages(t)
	var all stormed
	name := testName(t)
	if err := Bind(open(t, name, nil), &all); err != nil {
		t.Fatal(err)
	}
	type victim struct {
		*process
		ready atomic.Bool
	}
	victims := make([]*victim, all.Counts.Len())
	begin := func(i int) {
		v := &victim{process: known[i%len(known)].helper(t, storm, name, strconv.Itoa(i))}
		victims[i] = v
		go func() { v.ready.Store(v.lines.Scan()) }()
	}
	// The last language first: its processes take the longest to begin, the more
	// so beside others.
	for i := range slices.Backward(known) {
		for j := i; j < len(victims); j += len(known) {
			begin(j)
		}
		for j := i; j < len(victims); j += len(known) {
			eventually(t, "a process in "+known[i].name+" gets through", victims[j].ready.Load)
		}
	}
	kills := map[string]int{}
	total := len(victims) // at the end
	kill := func(i int) {
		t.Helper()
		victims[i].kill()
		if status := victims[i].cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() {
			t.Fatalf("a process in %s ended by itself: %v", known[i%len(known)].name, victims[i].cmd.ProcessState)
		}
	}
	for end := time.Now().Add(*stormLength / 2); time.Now().Before(end); {
		time.Sleep(time.Duration(rand.IntN(int(6 * time.Millisecond))))
		i := rand.IntN(len(victims))
		// One that has not begun yet is left alone, more often than not: in some
		// languages that takes long, and nothing would happen there.
		if !victims[i].ready.Load() && rand.IntN(20) != 0 {
			continue
		}
		if rand.IntN(8) == 0 {
			victims[i].signal(syscall.SIGSTOP)
			time.Sleep(time.Duration(rand.IntN(int(10 * time.Millisecond))))
			victims[i].signal(syscall.SIGCONT)
		}
		kill(i)
		kills[known[i%len(known)].name]++
		total++
		within(t, "the locks, beside the others", func() {
			all.N.Add(0)
			all.Steady.Update(func(x *cSteady) {
				if !x.whole() {
					t.Errorf("torn: %v", x)
				}
			})
		})
		begin(i)
	}
	for i := range victims {
		kill(i)
	}
	within(t, "the lock at the end", all.N.Mutex().Lock)
	defer all.N.Mutex().Unlock()
	counted := int64(0)
	for i, n := range all.Counts.All() {
		t.Logf("in %s: %d additions", known[i%len(known)].name, n)
		counted += n
	}
	if got := all.N.Raw().Get(); got < counted || got > counted+int64(total) {
		t.Fatalf("%d additions were counted, the number is %d, after %d kills", counted, got, total)
	}
	t.Logf("killed: %v; %d in flight; takeovers: %d, %d and %d", kills, all.N.Raw().Get()-counted,
		all.N.Mutex().cell.takeovers.Load(), all.Steady.Mutex().cell.takeovers.Load(), all.Text.Mutex().cell.takeovers.Load())
}
