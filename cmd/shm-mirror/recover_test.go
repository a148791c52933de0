package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm-mirror/internal/replica"
	"example.org/shm/cmd/shm-mirror/internal/wire"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The server comes back with the state of a backup, in which an epoch is current that is
// over: the owner's agent goes on, and the replica does not go back, whether its agent
// has started again or not.
func TestServerHasAnOlderState(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	backup := t.TempDir()
	w.server.kill()
	if err := os.CopyFS(backup, os.DirFS(w.dir)); err != nil {
		t.Fatal(err)
	}
	w.startServer()
	w.live()
	w.serve.kill()
	w.startServe() // a new epoch
	w.live()
	watch := w.watch()
	for _, again := range []bool{false, true} {
		w.server.kill()
		if again {
			w.follow.kill()
		}
		if err := os.RemoveAll(w.dir); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(w.dir, os.DirFS(backup)); err != nil {
			t.Fatal(err)
		}
		w.startServer()
		if again {
			w.startFollow()
		} else {
			w.is("no connection", "owner silent")
		}
		w.live()
	}
	watch.end()
	select {
	case <-w.serve.done:
		t.Error("the owner's agent has ended")
	default:
	}
}

// Somebody removes the replica. Its agent makes it again.
func TestReplicaIsRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := shm.Remove(w.replica); err != nil {
		t.Fatal(err)
	}
	w.live()
}

// A replica whose agent was killed is stale since the owner was heard last, and not since
// another agent has started.
func TestStaleSinceTheAgentWasKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.follow.kill()
	killed := time.Now()
	w.serve.kill()
	w.startFollow()
	if since := time.Unix(0, w.is("owner silent").Stale.Load()); since.After(killed) {
		t.Errorf("stale since %v, and the agent was killed at %v", since, killed)
	}
}

// A server that is stopped answers nothing, but its connections stay. Both agents notice
// it, and go on when it does.
func TestServerStops(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.server.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if st := w.is("owner silent", "no connection"); st.Stale.Load() == 0 {
		t.Error("stale since never")
	}
	if err := w.server.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	w.live()
}

// A message in the bucket that no agent sends is refused, and the replica's agent lives.
func TestForgedMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nc, err := nats.Connect(w.nats)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	kv, err := js.KeyValue(ctx, "shm")
	if err != nil {
		t.Fatal(err)
	}
	o, err := wire.ParseOrigin(w.origin)
	if err != nil {
		t.Fatal(err)
	}
	w.writer.kill()
	w.is("no writer")
	var v wire.Value
	forge := func(name string, change func()) {
		t.Helper()
		e, err := kv.Get(ctx, o.Key(name, 0, 1))
		if err == nil {
			v, err = wire.Decode(e.Value())
		}
		if err != nil {
			t.Fatal(err)
		}
		v.Commit += 1 << 20
		change()
		if _, err := kv.Put(ctx, o.Key(name, 0, 1), v.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	forge("n", func() { v.Part, v.Parts = 5, 9 })
	forge("a point", func() { v.Bytes = v.Bytes[:3] })
	forge("took", func() { v.Bytes = v.Bytes[:8] })
	forge("ring", func() { v.Bytes = v.Bytes[:5] })
	forge("limit", func() { v.Description = []byte(`{"name":"mirror/state"}`) })
	forge("text", func() { v.Description = []byte("{") })
	forge("atomic", func() { v.Order ^= '<' ^ '>' })
	for name, about := range map[string]string{
		"forged array": `"type":"AtomicArray","layout":"<q","len":16777216`,
		"forged text":  `"type":"String","layout":"<c","len":16777216`,
		"forged table": `"type":"Table","layout":"T{<q:x:}","len":16777216`,
		"forged mutex": `"type":"Mutex"`,
		"forged locks": `"type":"Mutexes","len":100000`,
	} {
		forge("n", func() { v.Part, v.Parts, v.Description = 0, 1, []byte(`{"name":"`+name+`",`+about+`}`) })
		if _, err := kv.Put(ctx, o.Key(name, 0, 1), v.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	st := w.is("no writer")
	eventually(t, func() string {
		if n := st.Refused.Load(); n != 12 {
			data, _ := json.Marshal(n)
			return "refused: " + string(data) + " " + st.Why.Load()
		}
		return ""
	})
	s, err := shm.Open(w.replica, &shm.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for e := range s.Entries() {
		if strings.HasPrefix(e.Name, "forged") {
			t.Errorf("a message that was refused has left %s", e.Name)
		}
	}
	if f, err := s.File().Stat(); err != nil || f.Size() > 32<<20 {
		t.Errorf("the replica's file: %v, %v", f, err)
	}
}

// While the owner's agent is silent, the replica's says so once and does not ask the server
// for all values again.
func TestSilentOwnerIsNotAskedAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nc, err := nats.Connect(w.nats)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	w.serve.kill()
	w.is("owner silent")
	consumers, err := nc.SubscribeSync("$JS.EVENT.ADVISORY.CONSUMER.CREATED.>")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(9 * time.Second)
	if n, _, err := consumers.Pending(); n != 0 || err != nil {
		t.Errorf("the agent has begun %d times again, %v", n, err)
	}
	w.startServe()
	w.live()
	w.follow.kill()
	_, log, said := strings.Cut(w.follow.log.String(), "owner silent")
	if !said || strings.Contains(log, "again") || strings.Contains(log, "silent") {
		t.Errorf("the agent has said: %s", w.follow.log)
	}
}

// A server that takes larger messages is given larger values.
func TestLargerMessages(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	t.Parallel()
	dir, addr, name := t.TempDir(), freePort(t), segmentName(t)
	t.Cleanup(func() { _ = shm.Remove(name); _ = shm.Remove(name + "@host.a") })
	s, err := shm.Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, size := range []int{3_000_000, 5_000_000} {
		words, err := shm.NewAtomicArray[uint64](s, fmt.Sprint(size), size/8)
		if err != nil {
			t.Fatal(err)
		}
		words.At(size/8 - 1).Store(uint64(size))
	}
	start(t, "server", addr, dir+"/data", write1(t, dir+"/nats.conf", "max_payload: 4MB\n"))
	serve := start(t, "mirror", "serve", "-nats", "nats://"+addr, "-host", "host.a", name)
	start(t, "mirror", "follow", "-nats", "nats://"+addr, "host.a/"+name)
	eventually(t, func() string {
		r, err := replica.Look(name + "@host.a")
		if err != nil {
			return err.Error()
		}
		if r.Values != 1 || r.TooLarge != 1 {
			return fmt.Sprintf("%d values, %d too large", r.Values, r.TooLarge)
		}
		return ""
	})
	words := bound[struct {
		Large shm.AtomicArray[uint64] `shm:"3000000,len=375000"`
	}](t, name+"@host.a")
	eventually(t, func() string {
		if n := words.Large.At(375_000 - 1).Load(); n != 3_000_000 {
			return fmt.Sprint("the last word is ", n)
		}
		return ""
	})
	if out, status := run(t, "status", name+"@host.a"); status != 0 || !strings.Contains(out, "TOO LARGE") {
		t.Errorf("status %d: %s", status, out)
	}
	serve.kill()
	if log := serve.log.String(); !strings.Contains(log, `"5000000" has 5000000 bytes`) || strings.Contains(log, `"3000000"`) {
		t.Errorf("the owner's agent has said: %s", log)
	}
}

// An agent tells what the server objects to, and does not wait for ever in silence.
func TestPermissionIsMissing(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	t.Parallel()
	dir, addr := t.TempDir(), freePort(t)
	config := write1(t, dir+"/nats.conf", `authorization { users: [
		{user: all, password: p}
		{user: looks, password: p, permissions: {publish: {deny: "$KV.>"}}}
	] }`)
	start(t, "server", addr, dir+"/data", config)
	name := segmentName(t)
	s, err := shm.Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(); _ = shm.Remove(name) })
	if out, status := run(t, "serve", "-nats", "nats://looks:p@"+addr, "-host", "host.a", name); status == 0 || !strings.Contains(out, "ermissions") || !strings.Contains(out, "announcing") {
		t.Errorf("status %d: %s", status, out)
	}
}

// Replica numbers last: what is stored for a key is there for the next agent.
func TestCommitsAreShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "-writable", "limit")
	w.writer.kill()
	w.is("no writer")
	before := commitOf(t, w.replica, "limit")
	if out, status := run(t, "set", "-nats", w.nats, "-if", before.String(), w.origin, "limit=7"); status != 0 {
		t.Fatalf("status %d: %s", status, out)
	}
	after := wire.Commit{Number: before.Number + 1, Epoch: before.Epoch}
	eventually(t, func() string {
		if n := commitOf(t, w.replica, "limit"); n != after {
			return "the commit is " + n.String()
		}
		return ""
	})
	w.follow.kill()
	w.startFollow()
	w.is("no writer")
	if out, status := run(t, "status", "-commits", w.replica); status != 0 || !strings.Contains(out, "limits/low") || !strings.Contains(out, "rows[2]") || !strings.Contains(out, after.String()) {
		t.Errorf("status %d: %s", status, out)
	}
	if n := commitOf(t, w.replica, "limit"); n != after {
		t.Errorf("the commit is %v after the agent has started again, and was %v", n, after)
	}
}

// A Gauge has the numbers of living processes, so that of a replica ends with the agent.
// The next agent sets it again, though the owner's has not changed.
func TestGaugeAfterTheAgentWasKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.writer.kill()
	w.is("no writer")
	s, err := shm.Open(w.segment, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	level, err := shm.NewGauge[int64](s, "level")
	if err != nil {
		t.Fatal(err)
	}
	level.Set(41)
	there := func() string {
		if n := bound[copied](t, w.replica).Level.Load(); n != 41 {
			return fmt.Sprintf("the gauge of the replica is %d", n)
		}
		return ""
	}
	eventually(t, there)
	w.follow.kill()
	eventually(t, func() string {
		if n := bound[copied](t, w.replica).Level.Load(); n != 0 {
			return fmt.Sprintf("the gauge is %d after the death of the process that had set it", n)
		}
		return ""
	})
	w.startFollow()
	w.is("live")
	eventually(t, there)
}

// The owner's agent is no writer after it has set a value for somebody.
func TestAgentIsNoWriter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "-writable", "limit")
	if out, status := run(t, "set", "-nats", w.nats, w.origin, "limit=7"); status != 0 {
		t.Fatalf("status %d: %s", status, out)
	}
	w.writer.kill()
	w.is("no writer")
}

// A heartbeat of an agent that is not the current one says nothing.
func TestHeartbeatOfAnotherEpoch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nc, err := nats.Connect(w.nats)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), "shm")
	if err != nil {
		t.Fatal(err)
	}
	o, err := wire.ParseOrigin(w.origin)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		b, err := json.Marshal(wire.Beat{Epoch: wire.NewEpoch(), Sent: time.Now()})
		if err == nil {
			_, err = kv.Put(t.Context(), o.Beat(), b)
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.live()
	w.follow.kill()
	if log := w.follow.log.String(); strings.Contains(log, "no segment") {
		t.Errorf("the agent of the replica said %q", log)
	}
}

// An agent whose segment does not exist says so, and publishes the origin nevertheless: so
// the agent that did so before ends, and the replica has one state.
func TestAgentWithoutSegment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := t.TempDir() + "/" + w.segment
	second := start(t, "mirror", "serve", "-nats", w.nats, "-host", "host.a", "-interval", "20ms", path)
	select {
	case <-w.serve.done:
	case <-time.After(20 * time.Second):
		t.Fatal("the first agent goes on beside the second")
	}
	if log := w.serve.log.String(); !strings.Contains(log, "another agent publishes") {
		t.Errorf("the first agent said %q", log)
	}
	w.is("no segment")
	s, err := shm.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n, err := shm.NewValue(s, "n", int64(-5))
	if err != nil {
		t.Fatal(err)
	}
	w.is("live")
	eventually(t, func() string {
		if got := bound[copied](t, w.replica).N.Load(); got != n.Load() {
			return fmt.Sprintf("n is %d", got)
		}
		return ""
	})
	second.kill()
	if log := second.log.String(); strings.Count(log, "there is no "+path+" yet") != 1 {
		t.Errorf("the second agent said %q", log)
	}
	w.follow.kill()
	if log := w.follow.log.String(); strings.Count(log, ": no segment") != 1 {
		t.Errorf("the agent of the replica said %q", log)
	}
}

// A replica hears of an owner's agent once a second, whatever the interval is, and the
// values that are there at the start arrive at once.
func TestLongInterval(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve.kill()
	w.is("owner silent")
	w.serveFlags = []string{"-interval", "1m"}
	n := bound[copied](t, w.segment).N.Load()
	w.startServe()
	w.is("live")
	began := time.Now()
	eventually(t, func() string {
		if got := bound[copied](t, w.replica).N.Load(); got < n {
			return fmt.Sprintf("n is %d, and was %d at the start", got, n)
		}
		return ""
	})
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the first values arrived after %v", took)
	}
	time.Sleep(6 * time.Second)
	w.follow.kill()
	if log := w.follow.log.String(); strings.Count(log, "owner silent") != 1 {
		t.Errorf("the agent of the replica said %q", log)
	}
}

// The server's disk is lost while nobody writes: a new replica has the values of a Ring
// nevertheless, because the owner's agent sends them again.
func TestRingAfterTheDiskIsLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.writer.kill()
	w.is("no writer")
	w.server.kill()
	w.is("no connection", "owner silent")
	if err := os.RemoveAll(w.dir); err != nil {
		t.Fatal(err)
	}
	w.startServer()
	w.is("no writer")
	want, _, _ := bound[copied](t, w.segment).Ring.Last()
	w.follow.kill()
	if err := shm.Remove(w.replica); err != nil {
		t.Fatal(err)
	}
	w.startFollow()
	w.is("no writer")
	eventually(t, func() string {
		if got, _, _ := bound[copied](t, w.replica).Ring.Last(); got != want {
			return fmt.Sprintf("the newest value of the ring is %v, not %v", got, want)
		}
		return ""
	})
}
