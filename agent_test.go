//go:build linux

package shm

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// agent does with the locks of a segment what it is told, a line at a time, and
// answers each with a line.
var agent = helper("agent", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := NewValue[int64](s, "n", 0)
	if err != nil {
		return err
	}
	a := &agency{s: s, v: v, mu: v.Mutex()}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(a.obey(strings.Fields(in.Text())))
	}
	return nil
})

type agency struct {
	s       *Segment
	v       Value[int64]
	mu      *Mutex
	ballast []byte
}

func (a *agency) obey(words []string) (answer string) {
	defer func() {
		if r := recover(); r != nil {
			answer = fmt.Sprint("panic: ", r)
		}
	}()
	n := 0
	if len(words) > 1 {
		n, _ = strconv.Atoi(words[1])
	}
	switch words[0] {
	case "lock":
		a.mu.Lock()
		return "locked"
	case "lockAll": // of so many locks
		for i := range n {
			mu, err := NewMutex(a.s, fmt.Sprint("mutex", i))
			if err != nil {
				return err.Error()
			}
			mu.Lock()
		}
		return "locked"
	case "trylock":
		return fmt.Sprint(a.mu.TryLock())
	case "lockFor": // so many milliseconds
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(n)*time.Millisecond)
		defer cancel()
		if a.mu.LockContext(ctx) != nil {
			return "gave up"
		}
		return "locked"
	case "unlock":
		a.mu.Unlock()
		return "unlocked"
	case "abandoned":
		return fmt.Sprint(a.mu.Abandoned())
	case "eat": // so many MiB of memory, and keep them
		a.ballast = make([]byte, n<<20)
		for i := 0; i < len(a.ballast); i += 4096 {
			a.ballast[i] = 1
		}
		return "full"
	case "set": // raw, under the lock
		a.v.Raw().Set(int64(n))
		return "set"
	case "add":
		for range n {
			a.v.Add(1)
		}
		return "added"
	case "addSlowly": // inside the lock when it answers, and still at work
		a.mu.Lock()
		if n == 1 {
			a.v.Raw().Set(a.v.Raw().Get() + 1)
		}
		return "inside"
	case "addForever":
		for {
			a.v.Add(1)
		}
	case "hog": // hold for a millisecond, and lock again at once
		for {
			a.mu.Lock()
			for t := time.Now(); time.Since(t) < time.Millisecond; {
			}
			a.mu.Unlock()
		}
	case "tryForever":
		for {
			if a.mu.TryLock() {
				a.mu.Unlock()
			}
		}
	case "crowd": // so many goroutines that lock once; then it answers
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() { a.v.Add(1) })
		}
		wg.Wait()
		return "through"
	case "fickle": // goroutines that give up at every point, for so many milliseconds
		return fmt.Sprint("added ", fickle(a.v, 8, time.Duration(n)*time.Millisecond))
	case "await": // a number at least so large
		x, err := a.v.Await(context.Background(), func(x int64) bool { return x >= int64(n) })
		return fmt.Sprint("saw ", x, " ", err)
	case "goAwait": // in so many goroutines, a number that never comes
		for range n {
			go func() {
				_, _ = a.v.Await(context.Background(), func(x int64) bool { return x < 0 })
			}()
		}
		return "awaiting"
	case "goAwaitEach": // of so many numbers, in a goroutine each
		for i := range n {
			v, err := NewValue[int64](a.s, fmt.Sprint("each", i), 0)
			if err != nil {
				return err.Error()
			}
			go func() {
				_, _ = v.Await(context.Background(), func(x int64) bool { return x < 0 })
			}()
		}
		return "awaiting"
	case "touch": // open and close the file elsewhere
		f, err := os.OpenFile(Path(a.s.Name()), os.O_RDWR, 0)
		if err != nil {
			return err.Error()
		}
		if err := f.Close(); err != nil {
			return err.Error()
		}
		return "touched"
	case "exec": // become another program, which inherits the segment's file
		if _, err := syscall.Dup(int(a.s.File().Fd())); err != nil {
			return err.Error()
		}
		path, err := exec.LookPath("sleep")
		if err == nil {
			err = syscall.Exec(path, []string{"sleep", "60"}, nil)
		}
		return err.Error()
	case "spawn": // a child that inherits the segment's file, and all that is inheritable
		cmd := exec.Command("sleep", "60")
		cmd.ExtraFiles = []*os.File{a.s.File()}
		if err := cmd.Start(); err != nil {
			return err.Error()
		}
		return fmt.Sprint(cmd.Process.Pid)
	}
	return "what is " + words[0]
}

// tell sends a line and returns the answer.
func (p *process) tell(line string) string {
	p.t.Helper()
	p.say(line)
	return p.line()
}

// must sends a line whose answer is known.
func (p *process) must(line, want string) {
	p.t.Helper()
	p.say(line)
	p.expect(want)
}

// signal sends a signal to the process.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// stop stops the process as a debugger does, and returns when it has stopped.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	eventually(p.t, "the process stops", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		return err == nil && strings.Contains(string(stat), ") T ")
	})
}

// startAgent starts an agent on a segment.
func startAgent(t testing.TB, segment string) *process {
	t.Helper()
	p := start(t, agent, segment)
	p.expect("ready")
	return p
}

// locked is what the tests of the lock share: a segment with a Value.
func locked(t testing.TB) (name string, v Value[int64]) {
	t.Helper()
	name = testName(t)
	return name, must(NewValue[int64](open(t, name, nil), "n", 0))(t)
}

// within ends the test unless f returns in a time that only a defect needs.
func within(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("never: %s", what)
	}
}

// sleeping ends the test unless somebody is asleep for the lock in the kernel,
// or, if long, with a watch.
func sleeping(t testing.TB, mu *Mutex, long bool) {
	t.Helper()
	eventually(t, "a waiter sleeps", func() bool {
		return mu.cell.word.Load()&wordW != 0 && (!long || mu.cell.starve.Load() != 0)
	})
}

// cpuOf returns what all threads of the processes have run for.
func cpuOf(t testing.TB, ps ...*process) (sum time.Duration) {
	t.Helper()
	for _, p := range ps {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", p.cmd.Process.Pid, task.Name()))
			if err != nil {
				continue // it ended meanwhile
			}
			ns, err := strconv.ParseInt(strings.Fields(string(b))[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += time.Duration(ns)
		}
	}
	return sum
}

// threads returns how many this process has.
func threads(t testing.TB) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(tasks)
}

// fickle adds in several goroutines for a while, half of the time giving up
// early, and returns how often it added.
func fickle(v Value[int64], goroutines int, d time.Duration) int64 {
	var added atomic.Int64
	end := time.Now().Add(d)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			random := uint64(g)*0x9E3779B97F4A7C15 + uint64(os.Getpid())
			for time.Now().Before(end) {
				random = random*6364136223846793005 + 1442695040888963407
				wait := time.Duration(random >> 32 % 300_000)
				if random>>60 == 0 {
					wait *= 40 // long enough for the watch
				}
				ctx, cancel := context.WithTimeout(context.Background(), wait)
				if random>>59&1 == 0 {
					time.AfterFunc(wait/2, cancel)
				}
				if v.mu.LockContext(ctx) == nil {
					v.raw.Set(v.raw.Get() + 1)
					added.Add(1)
					if random>>56&7 == 0 {
						for t := time.Now(); time.Since(t) < 50*time.Microsecond; {
						}
					}
					v.mu.Unlock()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	return added.Load()
}
