package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"example.org/shm"
	"example.org/shm/cmd/shm-mirror/internal/wire"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestSetFromAfar(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "-writable", "lim*", "-writable", "a point", "-writable", "mutex")
	set := func(status int, says string, args ...string) {
		t.Helper()
		args = append([]string{"set", "-nats", w.nats}, args...)
		if out, got := run(t, args...); got != status || !strings.Contains(out, says) {
			t.Errorf("%q: status %d, want %d: %s", args, got, status, out)
		}
	}
	set(0, "limit is commit", w.origin, "limit=80")
	owner := bound[struct {
		Limit shm.Value[int32] `shm:"limit"`
	}](t, w.segment)
	if n := owner.Limit.Load(); n != 80 {
		t.Errorf("the limit is %d", n)
	}
	eventually(t, func() string {
		if bound[copied](t, w.replica).Limit.Load() != 80 {
			return "the replica has another limit"
		}
		return ""
	})
	set(1, "no -writable", w.origin, "n=1")
	set(4, "limit", w.origin, "limit=many")
	set(4, "limit", w.origin, "limit=99999999999")
	epoch := commitOf(t, w.replica, "limit").Epoch
	number := func(n uint64) string { return wire.Commit{Number: n, Epoch: epoch}.String() }
	set(1, "not "+number(1), "-if", number(1), w.origin, "a point={X: 1, Y: -1}")
	set(4, "Mutex", w.origin, "mutex=1")
	set(3, "nobody takes requests for host.b/"+w.segment+": its agent does not run, or has no -writable\n", "host.b/"+w.segment, "limit=1")
	set(2, "HOST/SEG", w.segment, "limit=1")
	set(2, "NAME=VALUE", w.origin, "limit")
	if n := owner.Limit.Load(); n != 80 {
		t.Errorf("the limit is %d after requests that were refused", n)
	}
	w.writer.kill() // so that commits stand still
	s, err := shm.Open(w.segment, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	e, _ := s.Lookup("a point")
	_, commit, err := e.Bytes(0)
	if err != nil {
		t.Fatal(err)
	}
	set(0, "commit "+number(commit+1), "-if", number(commit), w.origin, "a point={X: 1, Y: -1}")
	set(1, "not "+number(commit), "-if", number(commit), w.origin, "a point={X: 2, Y: -2}")

	limit, err := shm.NewValue(s, "limit", int32(0))
	if err != nil {
		t.Fatal(err)
	}
	limit.Mutex().Lock()
	set(5, "held by", w.origin, "limit=81")
	limit.Mutex().Unlock()
	set(0, "", w.origin, "limit=82")
}

// Each mistake is one clear line and an exit status, and leaves nothing behind.
func TestMistakes(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	t.Parallel()
	addr, dir := freePort(t), t.TempDir()
	config := write1(t, filepath.Join(dir, "nats.conf"), "authorization { user: u, password: p }\n")
	start(t, "server", addr, filepath.Join(dir, "data"), config)
	good := "nats://u:p@" + addr
	nobody := "nats://" + freePort(t)
	name := segmentName(t)
	t.Cleanup(func() { _ = shm.Remove(name); _ = shm.Remove(name + "@host.a") })
	s, err := shm.Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := shm.NewValue(s, "n", int64(0)); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(good)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "other", Description: "orders"}); err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(dir, "store")
	for _, c := range []struct {
		status int
		says   string
		args   []string
	}{
		{2, "no command", []string{"copy"}},
		{2, "name a segment", []string{"serve"}},
		{2, "interval", []string{"serve", "-interval", "0s", name}},
		{2, "replicas", []string{"serve", "-replicas", "2", name}},
		{1, "replicas > 1 not supported", []string{"serve", "-nats", good, "-bucket", "three", "-replicas", "3", name}},
		{2, "[a", []string{"serve", "-allow", "[a", name}},
		{2, "are for -embed", []string{"serve", "-store", store, name}},
		{1, "connecting", []string{"serve", "-nats", nobody, name}},
		{1, "connecting", []string{"serve", "-nats", "http://[", name}},
		{1, "uthorization", []string{"serve", "-nats", "nats://u:wrong@" + addr, name}},
		{1, "connecting to nats://u:xxxxx@" + addr, []string{"serve", "-nats", "nats://u:wrong@" + addr, name}},
		{2, "is not HOST/SEGMENT", []string{"serve", "-host", "a/b", name}},
		{2, "would both be published", []string{"serve", "-nats", good, name, shm.Path(name)}},
		{2, "named twice", []string{"follow", "a/b", "a/b"}},
		{3, "no such file", []string{"serve", "-nats", good, "-creds", filepath.Join(dir, "none"), name}},
		{4, "orders", []string{"serve", "-nats", good, "-bucket", "other", name}},
		{2, "letters, digits", []string{"serve", "-nats", good, "-bucket", "a b", name}},
		{2, "letters, digits", []string{"follow", "-nats", good, "-bucket", "a b", "host.a/" + name}},
		{2, "letters, digits", []string{"set", "-nats", good, "-bucket", "", "host.a/" + name, "n=1"}},
		{1, "credentials", []string{"serve", "-embed", "0.0.0.0:0", "-store", store, name}},
		{1, "HOST:PORT", []string{"serve", "-embed", "here", "-store", store, name}},
		{1, "in use", []string{"serve", "-embed", addr, "-store", store, name}},
		{1, "directory", []string{"serve", "-embed", "127.0.0.1:0", "-store", config, name}},
		{1, "in use by another embedded server; give", []string{"serve", "-embed", "127.0.0.1:0", "-store", filepath.Join(dir, "data"), name}},
		{2, "HOST/SEG", []string{"follow", name}},
		{2, "is not NUMBER@EPOCH", []string{"set", "-nats", good, "-if", "41", "host.a/" + name, "n=1"}},
		{2, "is for one segment", []string{"follow", "-as", "x", "a/b", "a/c"}},
		{1, "connecting", []string{"follow", "-nats", nobody, "host.a/" + name}},
		{4, "is no replica", []string{"follow", "-nats", good, "-as", name, "host.a/" + name}},
		{4, "orders", []string{"follow", "-nats", good, "-bucket", "other", "host.a/" + name}},
		{4, "is no replica", []string{"status", name}},
		{3, "no such file", []string{"status", name + "-none"}},
		{2, "table and json", []string{"status", "-o", "xml"}},
		{2, "flag", []string{"follow", "-none"}},
	} {
		out, status := run(t, c.args...)
		if status != c.status || !strings.Contains(out, c.says) {
			t.Errorf("%q: status %d, want %d with %q: %s", c.args, status, c.status, c.says, out)
		}
	}
	if _, err := shm.Open(name+"@host.a", &shm.Options{MustExist: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a replica was made by an agent that failed: %v", err)
	}
	n := 0
	for range s.Entries() {
		n++
	}
	if n != 1 {
		t.Errorf("the segment has %d values, want 1", n)
	}
}

// Two agents for one origin, and two for one replica.
func TestOneAgentEach(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if out, status := run(t, "follow", "-nats", w.nats, w.origin); status != 5 || !strings.Contains(out, "another agent keeps") {
		t.Errorf("status %d: %s", status, out)
	}
	if out, status := run(t, "follow", "-nats", w.nats, "-as", w.replica, "host.b/"+w.segment); status != 5 && status != 4 {
		t.Errorf("another origin: status %d: %s", status, out)
	}
	first := w.serve
	w.startServe()
	eventually(t, func() string {
		select {
		case <-first.done:
			return ""
		default:
			return "the first agent goes on beside the second"
		}
	})
	if log := first.log.String(); !strings.Contains(log, "another agent publishes") {
		t.Errorf("the first agent said %q", log)
	}
	w.live()
	w.follow.kill()
	if out, status := run(t, "status", w.replica); status != 0 || !strings.Contains(out, "agent has stopped  20") {
		t.Errorf("status %d, and since when it is stale is not shown: %s", status, out)
	}
	out, status := run(t, "status", "-o", "json", w.replica)
	var report struct {
		Schema   int
		Replicas []struct{ Origin string }
	}
	if err := json.Unmarshal([]byte(out), &report); status != 0 || err != nil || report.Schema != 1 || report.Replicas[0].Origin != w.origin {
		t.Errorf("status %d, %v: %s", status, err, out)
	}
}
