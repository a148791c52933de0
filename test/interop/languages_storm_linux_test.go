package interop_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// cSteady is a struct whose numbers depend on each other.
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
	N      shm.Value[int64]    `shm:"n"`
	Counts shm.RawArray[int64] `shm:"counts,len=6"`
	Steady shm.Struct[cSteady] `shm:"steady"`
	Text   shm.String          `shm:"text,len=64"`
}

// storm changes all values until it is killed. It prints ready after the first
// round, and ends with an error if it sees half of a change.
var storm = shmtest.Helper("storm", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	var all stormed
	if err := shm.Bind(s, &all); err != nil {
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

// A segment and its values are made in one language, and the other languages
// attach to them and understand them.
func TestMadeInAnyLanguage(t *testing.T) {
	t.Parallel()
	all := languages(t)
	for i, first := range all {
		t.Run(first.name, func(t *testing.T) {
			t.Parallel()
			name := shmtest.Name(t)
			for j := range all {
				who := all[(i+j)%len(all)]
				p := who.start(t, storm, name, strconv.Itoa(j))
				p.Expect("ready")
				p.Kill()
			}
			var found stormed
			if err := shm.Bind(shmtest.Opened(shm.Open(name, &shm.Options{MustExist: true}))(t), &found); err != nil {
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

// A victim is a process of a storm.
type victim struct {
	*shmtest.Process
	ready atomic.Bool // It has been through the first round.
}

// startVictims starts n processes in all languages, by turns, and returns when each is
// ready. begin starts a successor of one of them.
func startVictims(t *testing.T, known []language, mode, name string, n int) (victims []*victim, begin func(i int)) {
	t.Helper()
	victims = make([]*victim, n)
	begin = func(i int) {
		v := &victim{Process: known[i%len(known)].start(t, mode, name, strconv.Itoa(i))}
		victims[i] = v
		go func() {
			_, ok := v.Next()
			v.ready.Store(ok)
		}()
	}
	// The processes of the last language take the longest to start, and longer
	// beside others. So they are the first.
	for i := range slices.Backward(known) {
		for j := i; j < n; j += len(known) {
			begin(j)
		}
		for j := i; j < n; j += len(known) {
			shmtest.Eventually(t, "a process in "+known[i].name+" is ready", victims[j].ready.Load)
		}
	}
	return victims, begin
}

// Processes in all languages change the same values and are killed all the time.
// Each may have made one addition that it could not count any more. No change is
// ever half done, and no process hangs.
func TestStormOfLanguages(t *testing.T) {
	known := languages(t)
	var all stormed
	name := shmtest.Name(t)
	s := shmtest.Opened(shm.Open(name, nil))(t)
	if err := shm.Bind(s, &all); err != nil {
		t.Fatal(err)
	}
	victims, begin := startVictims(t, known, storm, name, all.Counts.Len())
	kills := map[string]int{}
	total := len(victims) // at the end
	kill := func(i int) {
		t.Helper()
		victims[i].Kill()
		if status := victims[i].Cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() {
			t.Fatalf("a process in %s ended before it was killed: %v", known[i%len(known)].name, victims[i].Cmd.ProcessState)
		}
	}
	for end := time.Now().Add(*shmtest.StormLength / 2); time.Now().Before(end); {
		time.Sleep(time.Duration(rand.IntN(int(6 * time.Millisecond))))
		i := rand.IntN(len(victims))
		// A process that is not ready is mostly left alone. Otherwise those that take
		// long to start would do nothing.
		if !victims[i].ready.Load() && rand.IntN(20) != 0 {
			continue
		}
		if rand.IntN(8) == 0 {
			victims[i].Signal(syscall.SIGSTOP)
			time.Sleep(time.Duration(rand.IntN(int(10 * time.Millisecond))))
			victims[i].Signal(syscall.SIGCONT)
		}
		kill(i)
		kills[known[i%len(known)].name]++
		total++
		shmtest.Within(t, "the locks are taken beside the others", func() {
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
	shmtest.Within(t, "the lock is taken at the end", all.N.Mutex().Lock)
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
		agent.Cell(t, s, "n").Takeovers.Load(), agent.Cell(t, s, "steady").Takeovers.Load(), agent.Cell(t, s, "text").Takeovers.Load())
}
