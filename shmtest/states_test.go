package shmtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/shmtest"
)

// point is a struct whose two halves are the same number.
type point struct{ A, B [5]int64 }

func pointOf(n int64) (p point) {
	for i := range p.A {
		p.A[i], p.B[i] = n, n
	}
	return p
}

type older struct{ A, B int64 }

type newer struct{ A, B, C int64 }

// addNames makes values whose names are numbers.
func addNames(s *shm.Segment, from, to int) {
	for i := from; i < to; i++ {
		must(shm.NewAtomic[int64](s, fmt.Sprint(i), 0))
	}
}

// The library's own promises, in every state that a crash leaves.
func TestStates(t *testing.T) {
	for name, test := range map[string]struct {
		setup, section func(*shm.Segment)
		check          func(*shm.Segment) error
		least          int
	}{
		"NewValue": {
			section: func(s *shm.Segment) { must(shm.NewValue[int64](s, "v", 7)) },
			check: func(s *shm.Segment) error {
				if _, ok := s.Lookup("v"); ok {
					if n := must(shm.NewValue[int64](s, "v", 9)).Load(); n != 7 {
						return fmt.Errorf("half a value: %d", n)
					}
				}
				must(shm.NewValue[int64](s, "v", 9)).Add(1)
				must(shm.NewValue[int64](s, "w", 9)).Add(1)
				return nil
			},
			least: 10,
		},
		"Struct.Update": {
			setup: func(s *shm.Segment) { must(shm.NewStruct(s, "p", pointOf(1))) },
			section: func(s *shm.Segment) {
				must(shm.NewStruct(s, "p", point{})).Update(func(p *point) { *p = pointOf(2) })
			},
			check: func(s *shm.Segment) error {
				v := must(shm.NewStruct(s, "p", point{}))
				if p := v.Load(); p != pointOf(1) && p != pointOf(2) {
					return fmt.Errorf("half a struct: %v", p)
				}
				v.Update(func(p *point) { *p = pointOf(3) })
				if p := v.Load(); p != pointOf(3) {
					return fmt.Errorf("%v after an Update", p)
				}
				return nil
			},
			least: 5,
		},
		"String.Store": {
			setup:   func(s *shm.Segment) { must(0, must(shm.NewString(s, "t", 100)).Store("the first text")) },
			section: func(s *shm.Segment) { must(0, must(shm.NewString(s, "t", 0)).Store("another text")) },
			check: func(s *shm.Segment) error {
				v := must(shm.NewString(s, "t", 0))
				if text := v.Load(); text != "the first text" && text != "another text" {
					return fmt.Errorf("half a text: %q", text)
				}
				return v.Store("third")
			},
			least: 4,
		},
		"a Struct grows": {
			setup:   func(s *shm.Segment) { must(shm.NewStruct(s, "p", older{1, 1})) },
			section: func(s *shm.Segment) { must(shm.NewStruct(s, "p", newer{})).Store(newer{2, 2, 2}) },
			check: func(s *shm.Segment) error {
				if p := must(shm.NewStruct(s, "p", older{})).Load(); p != (older{1, 1}) && p != (older{2, 2}) {
					return fmt.Errorf("half of the old fields: %v", p)
				}
				v := must(shm.NewStruct(s, "p", newer{}))
				if p := v.Load(); p != (newer{1, 1, 0}) && p != (newer{2, 2, 2}) {
					return fmt.Errorf("half of the new fields: %v", p)
				}
				v.Store(newer{3, 3, 3})
				if p := v.Load(); p != (newer{3, 3, 3}) {
					return fmt.Errorf("%v after a Store", p)
				}
				return nil
			},
			least: 5,
		},
		"the directory grows": {
			setup:   func(s *shm.Segment) { addNames(s, 0, 60) },
			section: func(s *shm.Segment) { addNames(s, 60, 70) },
			check: func(s *shm.Segment) error {
				n := 0
				for range s.Entries() {
					n++
				}
				if n < 60 || n > 70 {
					return fmt.Errorf("%d values", n)
				}
				for i := range n {
					if _, ok := s.Lookup(fmt.Sprint(i)); !ok {
						return fmt.Errorf("value %d of %d is not found", i, n)
					}
				}
				addNames(s, 0, 80)
				if _, ok := s.Lookup("79"); !ok {
					return errors.New("a new value is not found")
				}
				return nil
			},
			least: 60,
		},
		"Table": {
			setup: func(s *shm.Segment) { must(shm.NewTable[point](s, "t", 3)) },
			section: func(s *shm.Segment) {
				must(shm.NewTable[point](s, "t", 3)).Row(1).Update(func(p *point) { *p = pointOf(2) })
				must(shm.NewTable[older](s, "new", 2)).Row(1).Store(older{2, 2})
			},
			check: func(s *shm.Segment) error {
				for i, p := range must(shm.NewTable[point](s, "t", 0)).All() {
					if p != pointOf(0) && (i != 1 || p != pointOf(2)) {
						return fmt.Errorf("half a row: %v", p)
					}
				}
				v := must(shm.NewTable[older](s, "new", 2))
				if p := v.Row(1).Load(); p != (older{}) && p != (older{2, 2}) {
					return fmt.Errorf("half a new row: %v", p)
				}
				v.Row(1).Store(older{3, 3})
				return nil
			},
			least: 20,
		},
		"Ring": {
			setup: func(s *shm.Segment) {
				for r, i := must(shm.NewRing[point](s, "r", 2)), int64(1); i <= 3; i++ {
					r.Append(pointOf(i))
				}
			},
			section: func(s *shm.Segment) {
				r := must(shm.NewRing[point](s, "r", 2))
				r.Append(pointOf(4))
				r.Append(pointOf(5))
			},
			check: func(s *shm.Segment) error {
				r := must(shm.NewRing[point](s, "r", 2))
				p, seq, ok := r.Last()
				if n := p.A[0]; !ok || p != pointOf(n) || n < 3 || n > 5 {
					return fmt.Errorf("half a value: %v", p)
				}
				kept := r.From(seq - 1)
				for range 2 {
					if x, _, err := kept.Next(context.Background()); err != nil || x != pointOf(x.A[0]) {
						return fmt.Errorf("half a kept value: %v, %v", x, err)
					}
				}
				if next := r.Append(pointOf(6)); next != seq+1 {
					return fmt.Errorf("number %d after %d", next, seq)
				}
				if p, _, _ := r.Last(); p != pointOf(6) {
					return fmt.Errorf("%v after an Append", p)
				}
				return nil
			},
			least: 10,
		},
		"Mutexes": {
			setup: func(s *shm.Segment) { must(shm.NewMutexes(s, "mu", 2)) },
			section: func(s *shm.Segment) {
				for range 2 {
					must(must(shm.NewMutexes(s, "mu", 0)).LockAny(context.Background()))
				}
			},
			check: func(s *shm.Segment) error {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				for want := range 2 { // The dead hold none.
					if i := must(must(shm.NewMutexes(s, "mu", 0)).LockAny(ctx)); i != want {
						return fmt.Errorf("lock %d instead of %d", i, want)
					}
				}
				return nil
			},
			least: 4,
		},
		"a Mutex": {
			setup: func(s *shm.Segment) { must(shm.NewMutex(s, "mu")) },
			section: func(s *shm.Segment) {
				mu := must(shm.NewMutex(s, "mu"))
				mu.Lock()
				defer mu.Unlock()
			},
			check: func(s *shm.Segment) error {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				return must(shm.NewMutex(s, "mu")).LockContext(ctx)
			},
			least: 3,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			states := shmtest.States(t, test.setup, test.section, test.check)
			t.Logf("%d states in %v", states, time.Since(begin))
			if states < test.least {
				t.Errorf("only %d states", states)
			}
		})
	}
}

// transfer moves 10 from one account to the other, under a lock. A crash between the
// two stores loses them: the next owner of the lock has to repair the sum.
func transfer(s *shm.Segment) {
	mu, a, b := accounts(s)
	mu.Lock()
	a.Set(a.Get() - 10)
	b.Set(b.Get() + 10)
	mu.Unlock()
}

func accounts(s *shm.Segment) (mu *shm.Mutex, a, b shm.RawValue[int64]) {
	return must(shm.NewMutex(s, "mu")), must(shm.NewRawValue[int64](s, "a", 100)), must(shm.NewRawValue[int64](s, "b", 0))
}

var errSum = errors.New("the sum is wrong")

// naive trusts that whoever had the lock has finished.
func naive(s *shm.Segment) error {
	mu, a, b := accounts(s)
	mu.Lock()
	defer mu.Unlock()
	if sum := a.Get() + b.Get(); sum != 100 {
		return fmt.Errorf("%w: %d", errSum, sum)
	}
	return nil
}

// careful repairs what a dead owner left.
func careful(s *shm.Segment) error {
	mu, a, b := accounts(s)
	mu.Lock()
	defer mu.Unlock()
	if mu.Abandoned() {
		b.Set(100 - a.Get())
	}
	if sum := a.Get() + b.Get(); sum != 100 {
		return fmt.Errorf("%w: %d", errSum, sum)
	}
	return nil
}

// The kit finds an invariant that a crash breaks, and says where.
func TestStatesFindsTheDefect(t *testing.T) {
	setup := func(s *shm.Segment) { accounts(s) }
	for name, kit := range map[string]func(t testing.TB, setup, section func(*shm.Segment), check func(*shm.Segment) error) int{
		"States": shmtest.States,
		"Kill":   shmtest.Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var n int
			report := failure(t, func(t testing.TB) { n = kit(t, setup, transfer, naive) })
			wantFailure(t, report, errSum.Error(), "shmtest_test.transfer", "states_test.go:")
			if strings.Contains(report, "example.org/shm/shmtest.") {
				t.Errorf("the report has lines of the kit: %s", report)
			}
			if n < 4 {
				t.Errorf("only %d", n)
			}
			if again := kit(t, setup, transfer, careful); again != n {
				t.Errorf("%d, and then %d", n, again)
			}
		})
	}
}

// A process that lives keeps its lock beside the one that dies.
func TestKillBesideTheLiving(t *testing.T) {
	var living *shmtest.Proc
	setup := func(s *shm.Segment) {
		must(shm.NewAtomic[int64](s, "n", 0))
		must(shm.NewMutex(s, "mu"))
		living = shmtest.Process(t, s, func(s *shm.Segment) {
			must(shm.NewMutex(s, "mu")).Lock()
			must(shm.NewValue[int64](s, "locked", 0)).Store(1)
			time.Sleep(time.Hour)
		})
		await(t, must(shm.NewValue[int64](s, "locked", 0)), 1)
	}
	section := func(s *shm.Segment) {
		n := must(shm.NewAtomic[int64](s, "n", 0))
		n.Add(1)
		n.Add(1)
	}
	kills := shmtest.Kill(t, setup, section, func(s *shm.Segment) error {
		if must(shm.NewMutex(s, "mu")).TryLock() {
			return errors.New("a living process has lost its lock")
		}
		living.Kill()
		mu := must(shm.NewMutex(s, "mu"))
		if mu.Lock(); !mu.Abandoned() {
			return errors.New("the lock of a killed process is not abandoned")
		}
		return nil
	})
	if kills != 2 {
		t.Errorf("%d kills after 2 stores", kills)
	}
}

// Each store of a section is a state of its own, whoever makes it.
func TestWhatIsAStore(t *testing.T) {
	chars := func(s *shm.Segment) { must(shm.NewCharArray(s, "c", size)) }
	for name, test := range map[string]struct {
		setup, section func(*shm.Segment)
		least, most    int
	}{
		"nothing": {section: func(*shm.Segment) {}, least: 1, most: 1},
		"what changes nothing": {
			setup:   func(s *shm.Segment) { must(shm.NewAtomic[int64](s, "n", 5)) },
			section: func(s *shm.Segment) { must(shm.NewAtomic[int64](s, "n", 5)).Store(5) },
			least:   1, most: 1,
		},
		"two words": {
			setup:   func(s *shm.Segment) { must(shm.NewAtomic[int64](s, "n", 5)) },
			section: func(s *shm.Segment) { n := must(shm.NewAtomic[int64](s, "n", 5)); n.Store(6); n.Add(1) },
			least:   3, most: 3,
		},
		"through a second attachment": {
			setup: func(s *shm.Segment) { must(shm.NewAtomic[int64](s, "n", 5)) },
			section: func(s *shm.Segment) {
				again := must(shm.OpenFile(s.File(), nil))
				defer again.Close()
				must(shm.NewAtomic[int64](again, "n", 5)).Add(1)
			},
			least: 2, most: 2,
		},
		"by other goroutines": {
			setup: func(s *shm.Segment) { must(shm.NewAtomic[int64](s, "n", 0)) },
			section: func(s *shm.Segment) {
				n, done := must(shm.NewAtomic[int64](s, "n", 0)), make(chan bool)
				for range 10 {
					go func() {
						n.Add(1)
						done <- true
					}()
					<-done
				}
			},
			least: 11, most: 11,
		},
		"by a read": {
			setup: chars,
			section: func(s *shm.Segment) {
				f := must(os.Open("/proc/self/exe"))
				defer f.Close()
				must(f.Read(must(shm.NewCharArray(s, "c", 0)).Bytes()))
				must(f.ReadAt(must(shm.NewCharArray(s, "c", 0)).Bytes(), 100))
			},
			least: 3, most: 5, // a read that a signal of the scheduler interrupts begins anew
		},
		"a copy of many bytes": {
			setup: chars,
			section: func(s *shm.Segment) {
				must(0, must(shm.NewCharArray(s, "c", 0)).SetValue(strings.Repeat("x", size)))
			},
			least: size/64 + 1, most: size + 1,
		},
		"after a panic that is recovered": {
			setup: func(s *shm.Segment) { must(shm.NewAtomic[int64](s, "n", 5)) },
			section: func(s *shm.Segment) {
				n := must(shm.NewAtomic[int64](s, "n", 5))
				defer func() {
					recover()
					n.Add(1)
				}()
				n.Store(*nowhere)
			},
			least: 2, most: 2,
		},
		"beside a process that the section starts": {
			setup: func(s *shm.Segment) { must(shm.NewAtomic[int64](s, "n", 5)) },
			section: func(s *shm.Segment) {
				must(0, exec.Command("/proc/self/exe", "-test.run=^$").Run())
				must(shm.NewAtomic[int64](s, "n", 5)).Add(1)
			},
			least: 2, most: 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			n := shmtest.States(t, test.setup, test.section, func(*shm.Segment) error { return nil })
			if n < test.least || n > test.most {
				t.Errorf("%d states, want %d to %d", n, test.least, test.most)
			}
			t.Logf("%d states in %v", n, time.Since(begin))
		})
	}
}

// size is more than Go copies with a few instructions.
const size = 8 << 10

var nowhere *int64

// A section that does not return is a failure with its output.
func TestSectionFails(t *testing.T) {
	check := func(*shm.Segment) error { return nil }
	report := failure(t, func(t testing.TB) { shmtest.States(t, nil, func(*shm.Segment) { panic("this is wrong") }, check) })
	wantFailure(t, report, "exit status 2", "this is wrong", "states_test.go:")
	report = failure(t, func(t testing.TB) { shmtest.Kill(t, nil, func(*shm.Segment) { os.Exit(3) }, check) })
	wantFailure(t, report, "exit status 3")
	report = failure(t, func(t testing.TB) { shmtest.States(t, nil, exitsGoroutine, check) })
	wantFailure(t, report, "exit status 1", "runtime.Goexit")
	captured := ""
	report = failure(t, func(t testing.TB) { shmtest.States(t, nil, func(*shm.Segment) { captured += "x" }, check) })
	wantFailure(t, report, "captures variables")
}

// Where processes may not be traced, the tests are skipped and say why.
func TestPtraceIsRefused(t *testing.T) {
	failure(t, func(t testing.TB) { shmtest.States(t, nil, add, func(*shm.Segment) error { return nil }) }) // It may be refused already.
	s := shmtest.Segment(t, nil)
	shmtest.Process(t, s, func(*shm.Segment) {
		must(0, refusePtrace())
		out := must(exec.Command(must(os.Executable()), "-test.v", "-test.run=^TestStates$/^NewValue$").CombinedOutput())
		if !strings.Contains(string(out), "ptrace is refused") || !strings.Contains(string(out), "--- SKIP: TestStates/NewValue") {
			panic(string(out))
		}
	}).Wait()
}
