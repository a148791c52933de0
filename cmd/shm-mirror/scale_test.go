package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm-mirror/internal/broker"
	"example.org/shm/cmd/shm-mirror/internal/owner"
	"example.org/shm/cmd/shm-mirror/internal/wire"
	"github.com/nats-io/nats.go"
)

var scale = flag.Duration("scale", 0, "how long TestScale and TestManyAgents measure; 0: they do not")

// cpuOf returns the processor time of a process of this test.
func cpuOf(t *testing.T, p *process) time.Duration {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(p.Process.Pid), "stat"))
	if err != nil {
		t.Skip("this system does not say what a process takes: ", err)
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	var user, system int64
	fmt.Sscan(fields[11], &user)
	fmt.Sscan(fields[12], &system)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// Ten thousand values change ten times a second, each with a store of its own. The test
// prints what the owner's agent, the server and the replica's agent take, and the lag.
func TestScale(t *testing.T) {
	if *scale == 0 {
		t.Skip("measures, with -args -scale 20s")
	}
	const values = 10000
	w := &world{t: t, segment: segmentName(t), addr: freePort(t), dir: t.TempDir()}
	w.origin, w.replica, w.nats = "host.a/"+w.segment, w.segment+"@host.a", "nats://"+w.addr
	t.Cleanup(func() { _ = shm.Remove(w.segment); _ = shm.Remove(w.replica) })
	s, err := shm.Open(w.segment, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var all [values]shm.Struct[point]
	for i := range all {
		if all[i], err = shm.NewStruct(s, fmt.Sprint("value ", i), point{}); err != nil {
			t.Fatal(err)
		}
	}
	w.startServer()
	w.serve = start(t, "mirror", "serve", "-memory", "-nats", w.nats, "-host", "host.a", w.segment)
	w.startFollow()
	w.is("live")
	var ended atomic.Bool
	var done sync.WaitGroup
	done.Go(func() {
		for n := int64(1); !ended.Load(); n++ {
			next := time.Now().Add(100 * time.Millisecond)
			for i := range all {
				all[i].Store(point{n, -n})
			}
			time.Sleep(time.Until(next))
		}
	})
	time.Sleep(3 * time.Second)
	lag := bound[struct {
		Applied shm.Atomic[uint64] `shm:"mirror/applied"`
		Lag     shm.Histogram      `shm:"mirror/lag,bounds=0.001;0.002;0.005;0.01;0.02;0.05;0.1;0.2;0.5;1;2;5;10"`
	}](t, w.replica)
	before, applied, began := lag.Lag.Load(), lag.Applied.Load(), time.Now()
	took := map[string]time.Duration{"owner's agent": cpuOf(t, w.serve), "server": cpuOf(t, w.server), "replica's agent": cpuOf(t, w.follow)}
	time.Sleep(*scale)
	wall := time.Since(began)
	for name, p := range map[string]*process{"owner's agent": w.serve, "server": w.server, "replica's agent": w.follow} {
		t.Logf("%s: %.2f of a core", name, (cpuOf(t, p)-took[name]).Seconds()/wall.Seconds())
	}
	after := lag.Lag.Load()
	var counts, sum uint64
	for i := range after.Counts {
		sum += after.Counts[i] - before.Counts[i]
	}
	for i := range after.Counts {
		counts += after.Counts[i] - before.Counts[i]
		if float64(counts) >= 0.99*float64(sum) && i < len(after.Bounds) {
			t.Logf("lag: p99 at most %v s", after.Bounds[i])
			break
		}
	}
	t.Logf("%.0f values a second arrived, of %d that changed", float64(lag.Applied.Load()-applied)/wall.Seconds(), 10*values)
	ended.Store(true)
	done.Wait()
}

// Fifty agents of owners publish to one server, each a segment of a hundred values that
// change ten times a second. The test prints messages, bytes and processor time, from
// which docs/mirror.md computes what more hosts take.
func TestManyAgents(t *testing.T) {
	if *scale == 0 {
		t.Skip("measures, with -args -scale 20s")
	}
	const agents, values = 50, 100
	server := "nats://" + freePort(t)
	start(t, "server", strings.TrimPrefix(server, "nats://"), t.TempDir(), "")
	var done sync.WaitGroup
	var ended atomic.Bool
	for a := range agents {
		name := fmt.Sprint(segmentName(t), "-", a)
		t.Cleanup(func() { _ = shm.Remove(name) })
		s, err := shm.Open(name, &shm.Options{MaxSize: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		all := make([]shm.Value[int64], values)
		for i := range all {
			if all[i], err = shm.NewValue(s, fmt.Sprint("value ", i), int64(0)); err != nil {
				t.Fatal(err)
			}
		}
		conn, err := broker.Connect(broker.Options{URL: server, Bucket: "shm", Memory: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		done.Go(func() {
			err := owner.Run(t.Context(), conn, owner.Options{
				Origin: wire.Origin{Segment: "s", Host: fmt.Sprint("h", a)}, Path: name, Allow: []string{"*"}, Interval: 100 * time.Millisecond, Log: t.Logf,
			})
			if err != nil && t.Context().Err() == nil {
				t.Error(err)
			}
		})
		done.Go(func() {
			for !ended.Load() {
				for _, v := range all {
					v.Add(1)
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	defer ended.Store(true)
	nc, err := nats.Connect(server)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	var messages, bytes atomic.Int64
	if _, err := nc.Subscribe("$KV.shm.>", func(m *nats.Msg) { messages.Add(1); bytes.Add(int64(len(m.Subject) + len(m.Data))) }); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		t.Fatal(err)
	}
	cpu, m, b, began := use.Utime.Nano()+use.Stime.Nano(), messages.Load(), bytes.Load(), time.Now()
	time.Sleep(*scale)
	wall := time.Since(began)
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d agents, %d values each: %.0f messages/s, %.0f bytes each, %.2f of a core for all agents, their writers and this reader",
		agents, values, float64(messages.Load()-m)/wall.Seconds(), float64(bytes.Load()-b)/float64(max(messages.Load()-m, 1)),
		float64(use.Utime.Nano()+use.Stime.Nano()-cpu)/float64(wall))
}
