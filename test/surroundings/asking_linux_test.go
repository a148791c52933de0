package surroundings_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// A read-only attachment cannot announce that it waits. It asks a process that may write.

// late awaits each change of a number, and prints how late it comes, in nanoseconds. The
// number is the time of its change. How is "value" or "struct"; or "name", and then it
// waits for names instead.
var late = shmtest.Helper("late", func(args []string) error {
	name, how, readOnly := args[0], args[1], args[2] == "ro"
	n, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	s, err := shm.Open(name, &shm.Options{Mode: 0o644, ReadOnly: readOnly})
	if err != nil {
		return err
	}
	ctx := context.Background()
	v, err := shm.NewValue(s, "value", int64(0))
	if err != nil {
		return err
	}
	p, err := shm.NewStruct(s, "struct", stamp{})
	if err != nil {
		return err
	}
	var last int64
	for i := range n {
		switch how {
		case "value":
			last, err = v.Await(ctx, func(at int64) bool { return at > last })
		case "struct":
			var x stamp
			x, err = p.Await(ctx, func(x stamp) bool { return x.At > last })
			last = x.At
		case "name":
			fmt.Println(i)
			_, err = s.WaitFor(ctx, fmt.Sprint("name", i))
			fmt.Println(time.Now().UnixNano())
			continue
		}
		if err != nil {
			return err
		}
		fmt.Println(time.Now().UnixNano() - last)
	}
	return nil
})

type stamp struct{ At, Count int64 }

// median returns the median of durations.
func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// A process that may only read, if possible another user's, is told as soon as one that
// may write. Each waits alone, so that the other cannot announce it.
func TestReadOnlyIsToldAtOnce(t *testing.T) {
	shmtest.NeedLinux(t, "way for a reader to ask")
	if !sys.CanWaitAny() {
		t.Skip("the system has no futex_waitv, so nobody answers")
	}
	const changes = 25
	name := shmtest.Name(t)
	s := shmtest.Opened(shm.Open(name, &shm.Options{Mode: 0o644}))(t)
	v := shmtest.Must(shm.NewValue(s, "value", int64(0)))(t)
	p := shmtest.Must(shm.NewStruct(s, "struct", stamp{}))(t)
	run := func(how, access string, change func(*exec.Cmd)) time.Duration {
		t.Helper()
		reader := shmtest.StartCmd(t, late, change, name, how, access, fmt.Sprint(changes))
		time.Sleep(50 * time.Millisecond)
		var all []time.Duration
		for i := range changes {
			if how == "name" {
				reader.Expect(fmt.Sprint(i))
			}
			time.Sleep(40 * time.Millisecond)
			now := time.Now().UnixNano()
			switch how {
			case "value":
				v.Store(now)
			case "struct":
				p.Store(stamp{now, int64(i)})
			case "name":
				shmtest.Must(shm.NewRawValue(s, fmt.Sprint("name", i), int64(0)))(t)
			}
			n, err := strconv.ParseInt(reader.Line(), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if how == "name" {
				n -= now
			}
			all = append(all, time.Duration(n))
		}
		reader.Wait()
		if how == "name" {
			fresh := shmtest.Name(t)
			name, s = fresh, shmtest.Opened(shm.Open(fresh, &shm.Options{Mode: 0o644}))(t)
			shmtest.Must(shm.NewValue(s, "value", int64(0)))(t)
			shmtest.Must(shm.NewStruct(s, "struct", stamp{}))(t)
		}
		return median(all)
	}
	for _, how := range []string{"value", "struct", "name"} {
		t.Run(how, func(t *testing.T) {
			rw, ro := run(how, "rw", nil), run(how, "ro", asAnother(t))
			t.Logf("of %d changes half are seen within %v by a process that may write, %v by one that may only read", changes, rw, ro)
			if ro > max(4*rw, 5*time.Millisecond) {
				t.Errorf("the one that may only read is told late")
			}
		})
	}
}

// asAnother makes a command run as another user, if this process may do so.
func asAnother(t *testing.T) func(*exec.Cmd) {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	return shmtest.AsNobody(t)
}

// Closing ends the goroutine that answers, and so does forgetting to close.
func TestAnsweringEnds(t *testing.T) {
	shmtest.NeedLinux(t, "way for a reader to ask")
	if !sys.CanWaitAny() {
		t.Skip("the system has no futex_waitv, so nobody answers")
	}
	listens := func() bool {
		buf := make([]byte, 1<<20)
		return strings.Contains(string(buf[:runtime.Stack(buf, true)]), "wait.(*listener).run")
	}
	s := shmtest.Opened(shm.Open(shmtest.Name(t), nil))(t)
	shmtest.Eventually(t, "a goroutine listens", listens)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	shmtest.Eventually(t, "the goroutine has ended", func() bool { return !listens() })
	func() {
		s := shmtest.Must(shm.Open(shmtest.Name(t), nil))(t)
		shmtest.Eventually(t, "a goroutine listens", listens)
		runtime.KeepAlive(s)
	}()
	shmtest.Eventually(t, "the goroutine has ended with a segment that was forgotten", func() bool {
		runtime.GC()
		return !listens()
	})
	ro := shmtest.Name(t)
	shmtest.Must(shm.Open(ro, nil))(t).Close()
	shmtest.Opened(shm.Open(ro, &shm.Options{ReadOnly: true}))(t)
	time.Sleep(60 * time.Millisecond)
	if listens() {
		t.Error("a read-only attachment listens")
	}
}

// What is opened in a bubble leaves nothing behind.
func TestOpenInABubbleStartsNothing(t *testing.T) {
	name := shmtest.Name(t)
	finishes(t, func(t *testing.T) {
		s, err := shm.Open(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
