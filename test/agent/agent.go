//go:build linux

// Package agent has a process for tests that works on the lock of a segment as
// it is told, and looks at what that lock is in memory.
//
// A test starts an agent with [Start] and talks to it by lines: it says "lock",
// and the agent answers "locked" once it holds the lock. [Agency] has all the
// lines. [Cell] has the lock's bytes, which shm itself does not show.
//
// The package registers a helper of shmtest, so a test binary that imports it
// needs a TestMain that calls shmtest.Main.
package agent

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// ValueName is the name of the value whose lock an agent works on.
const ValueName = "n"

// Modest is for a segment that a test makes and needs little of. An emulator of processors
// notes each page of the addresses that a process reserves, and for the usual 4 GiB that takes
// it up to four seconds for each process that attaches.
var Modest = &shm.Options{MaxSize: 64 << 20}

// Program is the helper that Start starts. Its argument is the name of a
// segment. It prints "ready", and then obeys.
var Program = shmtest.Helper("agent", func(args []string) error {
	s, err := shm.Open(args[0], Modest)
	if err != nil {
		return err
	}
	a, err := New(s)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		fmt.Println(a.Obey(strings.Fields(in.Text())))
	}
	return in.Err()
})

// Start starts an agent on the segment of that name. It returns when the agent
// has attached to the value.
func Start(t shmtest.TB, segment string) *shmtest.Process {
	t.Helper()
	p := shmtest.Start(t, Program, segment)
	p.Expect("ready")
	return p
}

// Locked returns a new segment and the value in it whose lock agents work on.
// Both are gone when the test ends.
func Locked(t shmtest.TB) (*shm.Segment, shm.Value[int64]) {
	t.Helper()
	s := shmtest.Opened(shm.Open(shmtest.Name(t), Modest))(t)
	return s, shmtest.Must(shm.NewValue[int64](s, ValueName, 0))(t)
}

// Agency is what an agent works on.
type Agency struct {
	s       *shm.Segment
	v       shm.Value[int64]
	mu      *shm.Mutex
	ballast []byte
}

// New returns the agency for the value ValueName of a segment.
func New(s *shm.Segment) (*Agency, error) {
	v, err := shm.NewValue[int64](s, ValueName, 0)
	if err != nil {
		return nil, err
	}
	return &Agency{s: s, v: v, mu: v.Mutex()}, nil
}

// Obey does what a line says and returns the answer, which is another line. The
// first word is the verb, the second one is its number. If the library panics,
// the answer is what it panics with.
func (a *Agency) Obey(words []string) (answer string) {
	defer func() {
		if r := recover(); r != nil {
			answer = fmt.Sprint("panic: ", r)
		}
	}()
	n := 0
	if len(words) > 1 {
		n, _ = strconv.Atoi(words[1])
	}
	verb := verbs[words[0]]
	if verb == nil {
		return "what is " + words[0]
	}
	answer, err := verb(a, n)
	if err != nil {
		return err.Error()
	}
	return answer
}

// verbs has what an agent can do.
var verbs = map[string]func(a *Agency, n int) (string, error){
	"lock": func(a *Agency, _ int) (string, error) {
		a.mu.Lock()
		return "locked", nil
	},
	"lockAll": func(a *Agency, n int) (string, error) { // n mutexes of their own
		for i := range n {
			mu, err := shm.NewMutex(a.s, fmt.Sprint("mutex", i))
			if err != nil {
				return "", err
			}
			mu.Lock()
		}
		return "locked", nil
	},
	"trylock": func(a *Agency, _ int) (string, error) { return fmt.Sprint(a.mu.TryLock()), nil },
	"lockFor": func(a *Agency, n int) (string, error) { // for at most n milliseconds
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(n)*time.Millisecond)
		defer cancel()
		if a.mu.LockContext(ctx) != nil {
			return "gave up", nil
		}
		return "locked", nil
	},
	"unlock": func(a *Agency, _ int) (string, error) {
		a.mu.Unlock()
		return "unlocked", nil
	},
	"abandoned": func(a *Agency, _ int) (string, error) { return fmt.Sprint(a.mu.Abandoned()), nil },

	"set": func(a *Agency, n int) (string, error) { // raw, for a holder of the lock
		a.v.Raw().Set(int64(n))
		return "set", nil
	},
	"add": func(a *Agency, n int) (string, error) { // 1, n times
		for range n {
			a.v.Add(1)
		}
		return "added", nil
	},
	"addSlowly": func(a *Agency, n int) (string, error) { // it keeps the lock, and adds if n is 1
		a.mu.Lock()
		if n == 1 {
			a.v.Raw().Set(a.v.Raw().Get() + 1)
		}
		return "inside", nil
	},
	"addForever": func(a *Agency, _ int) (string, error) {
		for {
			a.v.Add(1)
		}
	},
	"hog": func(a *Agency, _ int) (string, error) { // hold the lock for a millisecond, and take it again at once
		for {
			a.mu.Lock()
			spin(time.Millisecond)
			a.mu.Unlock()
		}
	},
	"tryForever": func(a *Agency, _ int) (string, error) {
		for {
			if a.mu.TryLock() {
				a.mu.Unlock()
			}
		}
	},
	"crowd": func(a *Agency, n int) (string, error) { // n goroutines add 1 each
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() { a.v.Add(1) })
		}
		wg.Wait()
		return "through", nil
	},
	"fickle": func(a *Agency, n int) (string, error) { // see Fickle; for n milliseconds
		return fmt.Sprint("added ", Fickle(a.v, 8, time.Duration(n)*time.Millisecond)), nil
	},

	"await": func(a *Agency, n int) (string, error) { // a number that is n or larger
		x, err := a.v.Await(context.Background(), func(x int64) bool { return x >= int64(n) })
		return fmt.Sprint("saw ", x, " ", err), nil
	},
	"gauge": func(a *Agency, n int) (string, error) { // set its number of a gauge
		g, err := shm.NewGauge[int64](a.s, "fresh gauge")
		if err == nil {
			g.Set(int64(n))
		}
		return "set", err
	},
	"goAwait": func(a *Agency, n int) (string, error) { // in n goroutines, a number that never comes
		for range n {
			go awaitNegative(a.v)
		}
		return "awaiting", nil
	},
	"goAwaitEach": func(a *Agency, n int) (string, error) { // n values, in a goroutine each
		for i := range n {
			v, err := shm.NewValue[int64](a.s, fmt.Sprint("each", i), 0)
			if err != nil {
				return "", err
			}
			go awaitNegative(v)
		}
		return "awaiting", nil
	},

	"eat": func(a *Agency, n int) (string, error) { // keep n MiB of memory
		a.ballast = make([]byte, n<<20)
		for i := 0; i < len(a.ballast); i += 4096 {
			a.ballast[i] = 1
		}
		return "full", nil
	},
	"touch": func(a *Agency, _ int) (string, error) { // open and close the segment's file elsewhere
		f, err := os.OpenFile(shm.Path(a.s.Name()), os.O_RDWR, 0)
		if err != nil {
			return "", err
		}
		return "touched", f.Close()
	},
	"exec": func(a *Agency, _ int) (string, error) { // become another program, which inherits the segment's file
		if _, err := syscall.Dup(int(a.s.File().Fd())); err != nil {
			return "", err
		}
		path, err := exec.LookPath("sleep")
		if err != nil {
			return "", err
		}
		return "", syscall.Exec(path, []string{"sleep", "60"}, nil)
	},
	"spawn": func(a *Agency, _ int) (string, error) { // start a child that inherits the segment's file, and whatever else it can
		cmd := exec.Command("sleep", "60")
		cmd.ExtraFiles = []*os.File{a.s.File()}
		if err := cmd.Start(); err != nil {
			return "", err
		}
		return fmt.Sprint(cmd.Process.Pid), nil
	},
}

func awaitNegative(v shm.Value[int64]) {
	_, _ = v.Await(context.Background(), func(x int64) bool { return x < 0 })
}

func spin(d time.Duration) {
	for t := time.Now(); time.Since(t) < d; {
	}
}
