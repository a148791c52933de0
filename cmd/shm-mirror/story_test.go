package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/shm"
)

// Whatever of owner, agents and server is killed with SIGKILL, and in whatever order they
// come back, the replica has the right values in the end, without a hand.
func TestEachOneIsKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	watch := w.watch()

	t.Log("the follower is killed")
	for range 5 {
		w.follow.kill()
		w.startFollow()
		w.live()
	}
	t.Log("the owner's agent is killed")
	w.serve.kill()
	if st := w.is("owner silent"); st.Stale.Load() == 0 {
		t.Error("stale since never")
	}
	w.startServe()
	w.live()
	t.Log("the server is killed")
	w.server.kill()
	if st := w.is("no connection"); st.Stale.Load() == 0 {
		t.Error("stale since never")
	}
	w.startServer()
	w.live()
	t.Log("the server is killed, and its disk is lost")
	w.server.kill()
	if err := os.RemoveAll(w.dir); err != nil {
		t.Fatal(err)
	}
	w.startServer()
	w.live()
	t.Log("the writer is killed, and another one goes on")
	w.writer.kill()
	w.is("no writer")
	w.startWriter(watch.newest() + 1000)
	w.live()
	t.Log("all are killed at once")
	newest := watch.newest()
	for _, p := range []*process{w.writer, w.serve, w.server, w.follow} {
		p.kill()
	}
	w.startFollowTries()
	w.startWriter(newest + 100000)
	w.live()
	watch.end()

	t.Log("the owner's segment is made anew, and begins with less")
	w.writer.kill()
	if err := shm.Remove(w.segment); err != nil {
		t.Fatal(err)
	}
	w.is("no segment")
	w.startWriter(1)
	w.live()
	eventually(t, func() string {
		if n := bound[copied](t, w.replica).N.Load(); n > newest {
			return fmt.Sprintf("n is %d still", n)
		}
		return ""
	})
}

// startFollowTries starts the server last of all: the agents need one when they start, so
// whoever supervises them starts them again.
func (w *world) startFollowTries() {
	w.startServer()
	w.startFollow()
	w.startServe()
}

// watcher looks at the replica all the time.
type watcher struct {
	w    *world
	stop chan struct{}
	done chan int64
	last chan int64
}

// watch checks, until it is ended, that no value of the replica goes back or is torn.
func (w *world) watch() *watcher {
	x := &watcher{w: w, stop: make(chan struct{}), done: make(chan int64, 1), last: make(chan int64)}
	r := bound[copied](w.t, w.replica)
	go func() {
		var n, p, row, word, looks int64
		var count, atomic uint64
		reader := r.Ring.From(0)
		ringed := int64(0)
		ctx := w.t.Context()
		for ; ; looks++ {
			select {
			case <-x.stop:
				x.done <- looks
				return
			case x.last <- n:
			case <-time.After(100 * time.Microsecond):
			}
			forward(w.t, "n", &n, r.N.Load())
			pt := r.P.Load()
			forward(w.t, "a point", &p, pt.X)
			rw := r.Rows.Row(1).Load()
			forward(w.t, "rows", &row, rw.X)
			if pt.X != -pt.Y || rw.X != -rw.Y {
				w.t.Errorf("torn: %v or %v", pt, rw)
			}
			forward(w.t, "words", &word, r.Words.At(1).Load())
			forward(w.t, "atomic", &atomic, uint64(r.Atomic.Load()))
			forward(w.t, "count", &count, r.Count.Load())
			if last, _, ok := r.Ring.Last(); ok && last.X != ringed {
				v, _, err := reader.Next(ctx)
				if err != nil {
					w.t.Error(err)
				}
				if v.X == ringed {
					w.t.Errorf("the ring has %d twice", v.X)
				}
				forward(w.t, "ring", &ringed, v.X)
				if v.X != -v.Y {
					w.t.Errorf("torn in the ring: %v", v)
				}
			}
		}
	}()
	return x
}

func forward[N int64 | uint64](t *testing.T, name string, last *N, now N) {
	if now < *last {
		t.Errorf("%s goes back from %d to %d", name, *last, now)
	}
	*last = now
}

func (x *watcher) newest() int64 { return <-x.last }

func (x *watcher) end() {
	close(x.stop)
	if looks := <-x.done; looks < 100 {
		x.w.t.Errorf("only %d looks", looks)
	}
}

// A cluster of three servers loses the one that leads, by SIGKILL.
func TestServerOfAClusterIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three servers")
	}
	t.Parallel()
	w := &world{t: t, segment: segmentName(t)}
	w.origin, w.replica = "host.a/"+w.segment, w.segment+"@host.a"
	t.Cleanup(func() { _ = shm.Remove(w.segment); _ = shm.Remove(w.replica) })
	var clients, routes [3]string
	for i := range clients {
		clients[i], routes[i] = freePort(t), freePort(t)
	}
	var servers [3]*process
	dir := t.TempDir()
	startOne := func(i int) {
		config := fmt.Sprintf("server_name: s%d\ncluster { name: c, listen: %q, routes: [\"nats://%s\", \"nats://%s\", \"nats://%s\"] }\n",
			i, routes[i], routes[0], routes[1], routes[2])
		path := write1(t, filepath.Join(dir, fmt.Sprint("s", i, ".conf")), config)
		servers[i] = start(t, "server", clients[i], filepath.Join(dir, fmt.Sprint(i)), path)
	}
	for i := range servers {
		startOne(i)
	}
	w.nats = "nats://" + strings.Join(clients[:], ",nats://")
	w.serveFlags = []string{"-replicas", "3"}
	w.startWriter(1)
	w.startServe() // it waits until the servers have found each other
	w.startFollow()
	w.live()
	watch := w.watch()
	for i := range servers {
		servers[i].kill()
		w.live()
		startOne(i)
		w.live()
	}
	watch.end()
}

// What is not to be published is not, and what a replica cannot keep is refused.
func TestWhatIsPublished(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "-raw", "raw", "-raw", "large", "-raw", "n", "-allow", "[^s]*", "-allow", "none*", "-writable", "lim")
	s, err := shm.Open(w.replica, &shm.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	eventually(t, func() string {
		e, ok := s.Lookup("raw")
		if !ok || !strings.Contains(e.Help, "may be torn") || e.Text() == "0" {
			return fmt.Sprintf("raw is %v, %+v", ok, e)
		}
		return ""
	})
	for name, want := range map[string]bool{"secret": false, "limit": true, "mutex": false, "large": false, "n": true, "limits/low": true} {
		if _, got := s.Lookup(name); got != want {
			t.Errorf("%s is published: %v", name, got)
		}
	}
	if e, _ := s.Lookup("n"); e.Unit != "pieces" || e.Help != "counts up" {
		t.Errorf("n has the unit %q and the help %q", e.Unit, e.Help)
	}
	w.serve.kill()
	log := w.serve.log.String()
	for _, says := range []string{`"large" has 3000000 bytes`, `-raw "n" matches no value`, `-allow "none*" matches no`, `-writable "lim" matches no`} {
		if !strings.Contains(log, says) {
			t.Errorf("the agent does not say %q: %s", says, log)
		}
	}
	if n := strings.Count(log, "matches no"); n != 3 {
		t.Errorf("%d globs match nothing, and 3 do", n)
	}
}

// The owner's segment is made anew with another type under a name.
func TestAnotherLayoutIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.writer.kill()
	if err := shm.Remove(w.segment); err != nil {
		t.Fatal(err)
	}
	s, err := shm.Open(w.segment, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := shm.NewValue(s, "n", 1.5); err != nil {
		t.Fatal(err)
	}
	text, err := shm.NewString(s, "text", 40)
	if err != nil {
		t.Fatal(err)
	}
	if err := text.Store("fits"); err != nil {
		t.Fatal(err)
	}
	st := w.is("live")
	eventually(t, func() string {
		r := bound[copied](t, w.replica)
		if why := st.Why.Load(); st.Refused.Load() != 1 || !strings.Contains(why, "float64") || !strings.Contains(why, `"n"`) || r.Text.Load() != "fits" {
			return fmt.Sprintf("refused %d, %q; text %q", st.Refused.Load(), why, r.Text.Load())
		}
		return ""
	})
	if out, status := run(t, "status", w.replica); status != 0 || !strings.Contains(out, "refuses") || !strings.Contains(out, "float64") {
		t.Errorf("status %d, %s", status, out)
	}
}

// A program that holds the lock of a replica's value, which it should not, delays the
// value. It does not keep the last change from arriving.
func TestHeldValueArrivesLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	change := func(segment string) shm.Value[int32] {
		s, err := shm.Open(segment, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		v, err := shm.NewValue(s, "limit", int32(0))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	owner, replica := change(w.segment), change(w.replica)
	replica.Mutex().Lock()
	owner.Store(80)
	st := w.is("live")
	eventually(t, func() string {
		if n := st.Refused.Load(); n != 1 {
			return fmt.Sprintf("%d values are refused", n)
		}
		return ""
	})
	replica.Mutex().Unlock()
	eventually(t, func() string {
		if x, n := replica.Load(), st.Refused.Load(); x != 80 || n != 0 {
			return fmt.Sprintf("the limit is %d, and %d values are refused", x, n)
		}
		return ""
	})
}
