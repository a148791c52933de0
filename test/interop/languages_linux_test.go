package interop_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// language is a programming language of processes that the tests start. c/test.c
// and python/tests/peer.py have the modes that the helpers here have.
type language struct {
	name       string
	start      func(t testing.TB, mode, segment string, args ...string) *shmtest.Process
	consistent string // what its agent is told so that the next holder is not told of a death; "": nothing
}

// languages returns those that this machine has. Go is the first one. Python with the
// verbs in C is one of its own. It skips the test if there is none but Go.
func languages(t testing.TB) []language {
	t.Helper()
	all := []language{{"Go", func(t testing.TB, mode, segment string, args ...string) *shmtest.Process {
		t.Helper()
		return shmtest.Start(t, mode, append([]string{segment}, args...)...)
	}, ""}}
	if _, err := exec.LookPath("gcc"); err == nil {
		cTest(t) // Compile it now, before other processes keep the processors busy.
		all = append(all, language{"C", func(t testing.TB, mode, segment string, args ...string) *shmtest.Process {
			t.Helper()
			return startC(t, append([]string{mode, segment}, args...)...)
		}, "consistent"})
	}
	if python, err := shmtest.FindPython(shmtest.PythonShm); err == nil {
		for _, python := range withNative(t, []shmtest.Interpreter{python}) {
			all = append(all, language{python.Name(), func(t testing.TB, mode, segment string, args ...string) *shmtest.Process {
				t.Helper()
				return shmtest.StartProgram(t, python.Command(append([]string{"-m", "tests.peer", mode, segment}, args...)...))
			}, ""})
		}
	}
	if len(all) == 1 {
		t.Skip("neither gcc nor Python")
	}
	return all
}

// A holder in one language is killed. A process in another language gets the
// lock, however it asks for it, and is told of the death.
func TestKilledHolderOfAnotherLanguage(t *testing.T) {
	t.Parallel()
	all := languages(t)
	for _, dead := range all {
		for _, next := range all {
			if dead.name == next.name || strings.HasPrefix(dead.name, "Python") && strings.HasPrefix(next.name, "Python") {
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
	s, v := agent.Locked(t)
	name, c := s.Name(), agent.Cell(t, s, agent.ValueName)
	waiter := next.start(t, agent.Program, name)
	waiter.Expect("ready")
	want, rounds := int64(0), 8
	if strings.HasPrefix(dead.name, "Python") {
		rounds = 4 // It takes time to start.
	}
	for round := range rounds {
		holder := dead.start(t, agent.Program, name)
		holder.Expect("ready")
		holder.Do(fmt.Sprint("addSlowly ", round/4%2), "inside")
		want += int64(round / 4 % 2)
		how := []string{"asleep", "long asleep", "late", "try"}[round%4]
		switch how {
		case "asleep":
			waiter.Say("lock")
			agent.Sleeping(t, c, false)
		case "long asleep":
			waiter.Say("lock")
			agent.Sleeping(t, c, true)
		case "try":
			waiter.Do("trylock", "false")
			waiter.Do("lockFor 10", "gave up")
			waiter.Do("trylock", "false") // it has probed just now
		}
		holder.Kill()
		died := time.Now()
		switch how {
		case "late":
			waiter.Do("lock", "locked")
		case "try":
			waiter.Do("trylock", "true")
		default:
			waiter.Expect("locked")
		}
		t.Logf("%s: %v", how, time.Since(died))
		for range 2 {
			waiter.Do("abandoned", "true")
		}
		if next.consistent != "" {
			waiter.Do(next.consistent, next.consistent)
		}
		waiter.Do("unlock", "unlocked")
		waiter.Do("lock", "locked")
		waiter.Do("abandoned", "false")
		waiter.Do("unlock", "unlocked")
		if w := c.Word.Load(); w != 0 {
			t.Fatalf("%s: word %#x at rest", how, w)
		}
	}
	if got := v.Load(); got != want {
		t.Fatalf("count %d, want %d", got, want)
	}
	if got := c.Takeovers.Load(); got != uint32(rounds) {
		t.Fatalf("%d takeovers", got)
	}
}
