package shmtest_test

import (
	"os"
	"runtime"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/shmtest"
)

const patience = time.Minute

func TestSegment(t *testing.T) {
	var s *shm.Segment
	t.Run("inner", func(t *testing.T) {
		s = shmtest.Segment(t, nil)
		other := shmtest.Segment(t, &shm.Options{MaxSize: 1 << 20})
		must(shm.NewAtomic[int64](s, "n", 1)).Add(1)
		if n := must(shm.NewAtomic[int64](other, "n", 5)).Load(); n != 5 {
			t.Errorf("the second segment has %d of the first", n)
		}
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := shm.NewMutex(s, "mu"); err == nil {
		t.Error("the segment is open after its test")
	}
	report := failure(t, func(t testing.TB) { shmtest.Segment(t, &shm.Options{ReadOnly: true}) })
	wantFailure(t, report, "ReadOnly")
}

// add adds 1 to a number.
func add(s *shm.Segment) { must(shm.NewValue[int64](s, "n", 0)).Add(1) }

// addMany adds 1 for ever.
func addMany(s *shm.Segment) {
	for {
		add(s)
	}
}

func generic[T shm.AtomicInteger](s *shm.Segment) { must(shm.NewAtomic[T](s, "generic", 0)).Add(1) }

func TestProcess(t *testing.T) {
	t.Parallel()
	functions := map[string]func(*shm.Segment){
		"declared": add,
		"literal":  func(s *shm.Segment) { add(s) },
		"variable": variable,
		"generic":  generic[int64],
	}
	for name, f := range functions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := shmtest.Segment(t, nil)
			pid := must(shm.NewValue[int64](s, "pid", 0))
			n, g := must(shm.NewValue[int64](s, "n", 0)), must(shm.NewAtomic[int64](s, "generic", 0))
			for range 2 {
				shmtest.Process(t, s, f).Wait()
			}
			shmtest.Process(t, s, func(s *shm.Segment) {
				must(shm.NewValue[int64](s, "pid", 0)).Store(int64(os.Getpid()))
			}).Wait()
			if n.Load()+g.Load() != 2 || pid.Load() == 0 || pid.Load() == int64(os.Getpid()) {
				t.Errorf("two processes added %d and %d; pid %d", n.Load(), g.Load(), pid.Load())
			}
		})
	}
}

var variable = func(s *shm.Segment) { must(shm.NewValue[int64](s, "n", 0)).Add(1) }

func TestProcessOfNamedSegment(t *testing.T) {
	t.Parallel()
	s := must(shm.Open(t.TempDir()+"/a segment", nil))
	defer s.Close()
	shmtest.Process(t, s, add).Wait()
	if n := must(shm.NewValue[int64](s, "n", 0)).Load(); n != 1 {
		t.Errorf("the process added %d", n)
	}
	reader := must(shm.OpenFile(s.File(), &shm.Options{ReadOnly: true}))
	defer reader.Close()
	shmtest.Process(t, reader, func(s *shm.Segment) {
		if n := must(shm.NewValue[int64](s, "n", 0)).Load(); n != 1 {
			panic(n)
		}
	}).Wait()
}

type counter struct{ n int64 }

func (c counter) add(s *shm.Segment) { must(shm.NewValue[int64](s, "n", 0)).Add(c.n) }

// made captures a variable, although it is no test's.
var made = func(n int64) func(*shm.Segment) {
	return func(s *shm.Segment) { must(shm.NewValue[int64](s, "n", 0)).Add(n) }
}(2)

// A function that would see other variables than the test's is refused.
func TestCaptured(t *testing.T) {
	s := shmtest.Segment(t, nil)
	byReference, byValue := 0, t.Name()
	for name, f := range map[string]func(*shm.Segment){
		"reference": func(*shm.Segment) { byReference++ },
		"value":     func(s *shm.Segment) { must(shm.NewMutex(s, byValue)) },
		"method":    counter{2}.add,
		"package":   made,
		"nil":       nil,
	} {
		report := failure(t, func(t testing.TB) { shmtest.Process(t, s, f) })
		if name == "nil" {
			wantFailure(t, report, "nil")
		} else {
			wantFailure(t, report, "captures variables")
		}
	}
	byReference++
}

// exitsGoroutine ends its goroutine, as FailNow does, and leaves another one.
func exitsGoroutine(*shm.Segment) {
	go func() { time.Sleep(time.Hour) }()
	runtime.Goexit()
}

func TestProcessFails(t *testing.T) {
	s := shmtest.Segment(t, nil)
	panics := func(*shm.Segment) { panic("this is wrong") }
	report := failure(t, func(t testing.TB) { shmtest.Process(t, s, panics).Wait() })
	wantFailure(t, report, "exit status 2", "this is wrong", "process_test.go")
	report = failure(t, func(t testing.TB) { shmtest.Process(t, s, func(*shm.Segment) { os.Exit(3) }).Wait() })
	wantFailure(t, report, "exit status 3")
	report = failure(t, func(t testing.TB) { shmtest.Process(t, s, exitsGoroutine).Wait() })
	wantFailure(t, report, "exit status 1", "runtime.Goexit")

	// Nobody waits: the end of the test reports it.
	inner := &fake{TB: t}
	t.Run("cleanup", func(t *testing.T) {
		inner.TB = t
		shmtest.Process(inner, s, func(s *shm.Segment) {
			must(shm.NewValue[int64](s, "pid", 0)).Store(int64(os.Getpid()))
			panic("nobody waits")
		})
		pid := must(shm.NewValue[int64](s, "pid", 0))
		for await(t, pid, 1); remains(pid.Load()); time.Sleep(time.Millisecond) {
		}
	})
	wantFailure(t, inner.failed, "nobody waits")
}

func TestKillStopContinue(t *testing.T) {
	t.Parallel()
	s := shmtest.Segment(t, nil)
	n := must(shm.NewValue[int64](s, "n", 0))
	p := shmtest.Process(t, s, addMany)
	await(t, n, 10)
	p.Stop()
	seen := n.Load()
	time.Sleep(20 * time.Millisecond)
	if now := n.Load(); now != seen {
		t.Errorf("a stopped process added %d", now-seen)
	}
	p.Continue()
	await(t, n, seen+10)
	p.Stop()
	p.Kill()
	n.Store(0) // whether or not the process had the lock
	time.Sleep(5 * time.Millisecond)
	if n.Load() != 0 {
		t.Error("a killed process adds")
	}
	p.Kill()
	p.Wait()
	shmtest.Process(t, s, addMany) // ends with the test
}

// A process is gone after the test that started it, also if it was stopped.
func TestProcessesEndWithTheTest(t *testing.T) {
	s := shmtest.Segment(t, nil)
	pid := must(shm.NewValue[int64](s, "pid", 0))
	t.Run("inner", func(t *testing.T) {
		p := shmtest.Process(t, s, func(s *shm.Segment) {
			must(shm.NewValue[int64](s, "pid", 0)).Store(int64(os.Getpid()))
			time.Sleep(time.Hour)
		})
		await(t, pid, 1)
		p.Stop()
	})
	if remains(pid.Load()) {
		t.Error("the process is still there")
	}
}
