package interop_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// These functions do with shm what the scripts of the same cases do with
// multiprocessing, and return what happens, for the table of TestBetter.

func afterKilledHolder(t *testing.T) string {
	s, v := agent.Locked(t)
	holder := agent.Start(t, s.Name())
	holder.Do("lock", "locked")
	holder.Kill()
	shmtest.Within(t, "the lock of a dead holder is taken", v.Mutex().Lock)
	defer v.Mutex().Unlock()
	if !v.Mutex().Abandoned() {
		t.Error("the next one is not told")
	}
	return "the next has the lock, and is told"
}

func besideStoppedHolder(t *testing.T) string {
	s, v := agent.Locked(t)
	v.Store(7)
	holder := agent.Start(t, s.Name())
	holder.Do("lock", "locked")
	holder.Stop()
	shmtest.Within(t, "a load beside a stopped holder", func() {
		if x := v.Load(); x != 7 {
			t.Errorf("read %d", x)
		}
	})
	return "a reader reads 7"
}

// ends is a struct whose X and Y are always to be equal. They are so far apart
// that a store can overtake a copy.
type ends struct {
	X       float64
	Between [510]float64
	Y       float64
}

// dyingMover is killed after it has changed one of two fields.
var dyingMover = shmtest.Helper("dyingMover", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	p, err := shm.NewStruct(s, "p", ends{})
	if err != nil {
		return err
	}
	p.Update(func(p *ends) {
		p.X = 2
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	})
	return nil
})

func afterHalfAChange(t *testing.T) string {
	name := shmtest.Name(t)
	p := shmtest.Must(shm.NewStruct(shmtest.Opened(shm.Open(name, nil))(t), "p", ends{X: 1, Y: 1}))(t)
	mover := shmtest.Start(t, dyingMover, name)
	if err := mover.Cmd.Wait(); err == nil || mover.Cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatal(err)
	}
	is := p.Load()
	if is != (ends{X: 1, Y: 1}) {
		t.Errorf("x = %v beside y = %v", is.X, is.Y)
	}
	return fmt.Sprintf("x = %v beside y = %v, as before", is.X, is.Y)
}

func afterManyAdditions(t *testing.T) string {
	const each = 1_000_000 // so many that the processes run at the same time
	s, v := agent.Locked(t)
	adders := []*shmtest.Process{agent.Start(t, s.Name()), agent.Start(t, s.Name())}
	for _, p := range adders {
		p.Say(fmt.Sprint("add ", each))
	}
	for _, p := range adders {
		p.Expect("added")
	}
	lost := 2*each - v.Load()
	if lost != 0 {
		t.Errorf("lost %d", lost)
	}
	return fmt.Sprintf("lost %d of 2,000,000", lost)
}

// mover stores equal numbers until it is killed.
var mover = shmtest.Helper("mover", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	p, err := shm.NewStruct(s, "p", ends{})
	if err != nil {
		return err
	}
	for i := 0.0; ; i++ {
		p.Store(ends{X: i, Y: i})
	}
})

func besideWriter(t *testing.T) string {
	name := shmtest.Name(t)
	p := shmtest.Must(shm.NewStruct(shmtest.Opened(shm.Open(name, nil))(t), "p", ends{}))(t)
	shmtest.Start(t, mover, name)
	shmtest.Eventually(t, "the first store", func() bool { return p.Load().X > 0 })
	first := p.Load()
	for range 1_000_000 {
		if is := p.Load(); is.X != is.Y {
			t.Fatalf("torn: x = %v beside y = %v", is.X, is.Y)
		}
	}
	shmtest.Eventually(t, "a later store", func() bool { return p.Load() != first })
	return "x = y, in 1,000,000 reads"
}

func afterFailedChange(t *testing.T) string {
	a := shmtest.Must(shm.NewStruct(shmtest.Opened(shm.Open(shmtest.Name(t), nil))(t), "a", [3]int32{}))(t)
	func() {
		defer func() { _ = recover() }()
		a.Update(func(a *[3]int32) {
			for i, text := range []string{"1", "2", "three"} {
				n, err := strconv.Atoi(text)
				if err != nil {
					panic(err)
				}
				a[i] = int32(n)
			}
		})
	}()
	is := a.Load()
	if is != [3]int32{} {
		t.Errorf("%v", is)
	}
	return fmt.Sprint(is, ": nothing written")
}

// fullSegment makes arrays until a full filesystem refuses one.
var fullSegment = shmtest.Helper("fullSegment", func(args []string) error {
	if err := shmtest.MountShared("1m"); err != nil {
		return err
	}
	s, err := shm.Open("a", nil)
	if err != nil {
		return err
	}
	if err := fillUp(shm.Path("filler")); err != nil {
		return err
	}
	for i := 0; ; i++ {
		a, err := shm.NewRawArray[uint64](s, fmt.Sprint(i), 100)
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("on a full filesystem: %w", err)
		}
		if err != nil {
			fmt.Println("an error:", syscall.ENOSPC)
			return nil
		}
		for j := range a.Len() {
			a.Set(j, uint64(i))
		}
	}
})

// fillUp writes a file until the filesystem is full.
func fillUp(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return nil
}

func onFullFilesystem(t *testing.T) string {
	p := shmtest.StartCmd(t, fullSegment, shmtest.InNamespace(t))
	defer p.Wait()
	return p.Line()
}

func afterClose(t *testing.T) string {
	name := shmtest.Name(t)
	s := shmtest.Opened(shm.Open(name, nil))(t)
	shmtest.Must(shm.NewValue[int64](s, "n", 1))(t)
	user := agent.Start(t, name)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	s = shmtest.Opened(shm.Open(name, nil))(t)
	price := shmtest.Must(shm.NewRawValue[int64](s, "price", 10))(t)
	user.Do("set 666", "set")
	n, other := shmtest.Must(shm.NewValue[int64](s, "n", 0))(t).Load(), price.Get()
	if n != 666 || other != 10 {
		t.Errorf("%d and %d", n, other)
	}
	return fmt.Sprintf("it holds %d, the other Value %d", n, other)
}

func withAnotherType(t *testing.T) string {
	name := shmtest.Name(t)
	shmtest.Must(shm.NewRawValue(shmtest.Opened(shm.Open(name, nil))(t), "x", 1.5))(t)
	_, err := shm.NewRawValue[int64](shmtest.Opened(shm.Open(name, nil))(t), "x", 0)
	var mismatch *shm.LayoutError
	if !errors.As(err, &mismatch) {
		t.Fatal(err)
	}
	return fmt.Sprintf("an error: have %s, want %s", mismatch.Have.Format, mismatch.Want.Format)
}
