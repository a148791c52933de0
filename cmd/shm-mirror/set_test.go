package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm-mirror/internal/replica"
	"example.org/shm/cmd/shm-mirror/internal/wire"
	"github.com/nats-io/nats.go"
)

// commitOf returns the commit of a value of a replica, as the status shows it. It waits
// until there is one.
func commitOf(t *testing.T, name, value string) (commit wire.Commit) {
	t.Helper()
	eventually(t, func() string {
		all, err := replica.Commits(name)
		if err != nil {
			return err.Error()
		}
		for _, c := range all {
			if c.Name == value && c.Commit != nil {
				commit = *c.Commit
				return ""
			}
		}
		return fmt.Sprintf("no commit of %q in %v", value, all)
	})
	return commit
}

// asker asks the owner's agent without a process for each request.
func (w *world) asker() func(q wire.Request) wire.Reply {
	w.t.Helper()
	nc, err := nats.Connect(w.nats)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	o, err := wire.ParseOrigin(w.origin)
	if err != nil {
		w.t.Fatal(err)
	}
	return func(q wire.Request) (reply wire.Reply) {
		w.t.Helper()
		b, err := json.Marshal(q)
		if err == nil {
			var m *nats.Msg
			if m, err = nc.Request(o.Requests(), b, 10*time.Second); err == nil {
				err = json.Unmarshal(m.Data, &reply)
			}
		}
		if err != nil {
			w.t.Errorf("%+v: %v", q, err)
		}
		return reply
	}
}

// What -if names is compared with all that it says, or refused.
func TestSetIfIsExact(t *testing.T) {
	t.Parallel()
	flags := []string{"-writable", "*"}
	for _, name := range []string{"n", "a point", "count", "level", "took", "ring", "empty", "rows", "text", "atomic", "words", "limit"} {
		flags = append(flags, "-allow", name)
	}
	w := newWorld(t, flags...)
	w.writer.kill()
	w.is("no writer")
	set := func(status int, says string, args ...string) {
		t.Helper()
		args = append([]string{"set", "-nats", w.nats}, args...)
		if out, got := run(t, args...); got != status || !strings.Contains(out, says) {
			t.Errorf("%q: status %d, want %d with %q: %s", args, got, status, says, out)
		}
	}
	before := commitOf(t, w.replica, "limit")
	row := commitOf(t, w.replica, "rows").String()
	set(1, "-if is not for a Table", "-if", row, w.origin, "rows=[1: {X: 1, Y: -1}]")
	set(1, "-if is not for a AtomicArray", "-if", commitOf(t, w.replica, "words").String(), w.origin, "words=[1: 1]")
	set(0, "rows is set\n", w.origin, "rows=[1: {X: 1, Y: -1}]")
	set(1, "is not published", "-if", before.String(), w.origin, "secret=1")
	set(0, "secret is set\n", w.origin, "secret=1")
	for _, name := range []string{"limit", "atomic", "text", "a point"} {
		text := map[string]string{"a point": "{X: 1, Y: -1}"}[name]
		if text == "" {
			text = "5"
		}
		c := commitOf(t, w.replica, name)
		next := wire.Commit{Number: c.Number + 1, Epoch: c.Epoch}
		set(0, "is commit "+next.String(), "-if", c.String(), w.origin, name+"="+text)
		set(1, "it is of commit "+next.String(), "-if", c.String(), w.origin, name+"="+text)
		set(0, "is commit "+next.String(), w.origin, name+"="+text) // which changes nothing
	}

	// Numbers of a Value begin anew with each run of the owner's agent.
	w.serve.kill()
	w.startServe()
	eventually(t, func() string {
		if again := commitOf(t, w.replica, "limit"); again.Epoch == before.Epoch {
			return "the epoch is the same"
		} else if again.Number != before.Number {
			t.Fatalf("the numbers do not begin anew: %v, %v", before, again)
		}
		return ""
	})
	set(1, "not "+before.String(), "-if", before.String(), w.origin, "limit=6")
	if n := bound[plant](t, w.segment).Limit.Load(); n != 5 {
		t.Errorf("the limit is %d", n)
	}
}

// The commit that a request is told is its own, also if others change the value before and
// behind it.
func TestSetTellsItsOwnCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "-writable", "*", "-interval", "1s")
	w.writer.kill()
	ask := w.asker()
	s, err := shm.Open(w.segment, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var v plant
	if err := shm.Bind(s, &v); err != nil {
		t.Fatal(err)
	}

	// The agent does not look at the values between these.
	for _, name := range []string{"limit", "atomic"} {
		seen := map[wire.Commit]string{}
		for i := range 20 {
			text := fmt.Sprint(10 + i)
			reply := ask(wire.Request{Name: name, Text: text})
			if reply.Error != "" || reply.Commit == nil {
				t.Fatalf("%s: %+v", name, reply)
			}
			if other, twice := seen[*reply.Commit]; twice {
				t.Errorf("%s is %s and %s at commit %v", name, other, text, *reply.Commit)
			}
			seen[*reply.Commit] = text
		}
	}

	e, _ := s.Lookup("a point")
	var stop atomic.Bool
	others := map[uint64]bool{} // commits of this process
	var work sync.WaitGroup
	work.Go(func() {
		for i := int64(1e6); !stop.Load(); i++ {
			v.P.Store(point{i, -i})
			if b, commit, err := e.Bytes(0); err == nil && v.P.Load().X == i {
				if _, again, err := e.Bytes(0); err == nil && again == commit && len(b) > 0 {
					others[commit] = true
				}
			}
		}
	})
	told := map[uint64]int{}
	for i := range 300 {
		reply := ask(wire.Request{Name: "a point", Text: fmt.Sprintf("{X: %d, Y: -%d}", i, i)})
		if reply.Error != "" || reply.Commit == nil {
			t.Errorf("%+v", reply)
			break
		}
		told[reply.Commit.Number]++
	}
	stop.Store(true)
	work.Wait()
	for n, times := range told {
		if others[n] || times > 1 {
			t.Errorf("commit %d was told %d times, and is another process's: %v", n, times, others[n])
		}
	}
	if len(others) < 100 {
		t.Errorf("only %d commits beside them", len(others))
	}
}

// A value whose lock is held holds up no other one, and is not set once nobody waits for
// that any more.
func TestSetBesideAHeldLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "-writable", "lim*")
	s, err := shm.Open(w.segment, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	limit, err := shm.NewValue(s, "limit", int32(0))
	if err != nil {
		t.Fatal(err)
	}
	limit.Mutex().Lock()
	ask := w.asker()
	var work sync.WaitGroup
	for i := range 4 {
		work.Go(func() {
			began := time.Now()
			reply := ask(wire.Request{Name: "limit", Text: fmt.Sprint(80 + i), Within: time.Second})
			if reply.Kind != "locked" {
				t.Errorf("%v after %v", reply, time.Since(began))
			}
		})
	}
	time.Sleep(100 * time.Millisecond) // so that they are there first
	began := time.Now()
	if reply := ask(wire.Request{Name: "limits/low", Text: "4"}); reply.Error != "" || time.Since(began) > time.Second {
		t.Errorf("another value: %+v after %v", reply, time.Since(began))
	}
	work.Wait()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the requests were answered after %v", took)
	}
	limit.Mutex().Unlock()
	if reply := ask(wire.Request{Name: "limit", Text: "90"}); reply.Error != "" {
		t.Errorf("after the lock is released: %+v", reply)
	}
	if n := limit.Load(); n != 90 {
		t.Errorf("the limit is %d", n)
	}
	if reply := ask(wire.Request{Name: "n", Text: "1"}); reply.Kind != "refused" {
		t.Errorf("a value that is not writable: %+v", reply)
	}
}
