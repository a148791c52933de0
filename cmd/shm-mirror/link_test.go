package main

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/shm"
)

// link is a connection between an agent and the server that a test can make slow, or lose.
type link struct {
	addr     string
	rate     atomic.Int64 // bytes per second in each direction; 0: as fast as it goes
	swallows atomic.Bool  // what comes from the agent arrives nowhere
	total    atomic.Int64 // bytes from the server to the agent

	mu    sync.Mutex
	conns []net.Conn
}

func newLink(t *testing.T, server string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{addr: l.Addr().String()}
	t.Cleanup(func() { _ = l.Close(); k.cut() })
	go func() {
		for {
			agent, err := l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				return
			}
			far, err := net.Dial("tcp", server)
			if err != nil { // the server is down
				_ = agent.Close()
				continue
			}
			for _, c := range []net.Conn{agent, far} {
				_ = c.(*net.TCPConn).SetReadBuffer(16 << 10)
				_ = c.(*net.TCPConn).SetWriteBuffer(16 << 10)
			}
			k.mu.Lock()
			k.conns = append(k.conns, agent, far)
			k.mu.Unlock()
			go k.copy(far, agent, true)
			go k.copy(agent, far, false)
		}
	}()
	return k
}

func (k *link) copy(to, from net.Conn, up bool) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		if rate := k.rate.Load(); rate > 0 {
			time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
		}
		if !up {
			k.total.Add(int64(n))
		}
		if up && k.swallows.Load() {
			continue
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
		if err != nil {
			return
		}
	}
}

// cut closes all connections. The agent can connect again.
func (k *link) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.conns {
		_ = c.Close()
	}
	k.conns = nil
}

// What was on the way when a connection was lost is sent again, though the next heartbeat
// arrives.
func TestConnectionIsLostBetweenHeartbeats(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.writer.kill()
	w.is("no writer")
	w.serve.kill()
	w.is("owner silent")
	k := newLink(t, w.addr)
	w.nats = "nats://" + k.addr
	w.startServe()
	w.is("no writer")
	s, err := shm.Open(w.segment, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ring, err := shm.NewRing[point](s, "ring", 4096)
	if err != nil {
		t.Fatal(err)
	}
	r := bound[copied](t, w.replica)
	applied := bound[status](t, w.replica)
	for i := range int64(5) {
		// The link swallows the value and nothing else, unless a heartbeat falls into it.
		x := 1000000 + i
		k.swallows.Store(true)
		ring.Append(point{x, -x})
		time.Sleep(60 * time.Millisecond) // three looks of the agent
		k.cut()
		k.swallows.Store(false)
		eventually(t, func() string {
			if last, _, _ := r.Ring.Last(); last.X != x {
				return "the value of the ring is missing"
			}
			return ""
		})
		if n := applied.Missed.Load(); n != 0 {
			t.Errorf("%d values of the ring are missed", n)
		}
	}
}

// A link that is much too slow for all changes gets fewer, and what waits in it is
// little: once the changes end, hardly more than the newest values follow.
func TestSlowLink(t *testing.T) {
	// The agent of a replica asks for as many bytes as one message may have.
	for side, most := range map[string]uint64{"owner": 1500, "replica": 3000} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			if testing.Short() {
				t.Skip("starts a server and agents")
			}
			const values, rate = 200, 100_000
			w := &world{t: t, segment: segmentName(t), addr: freePort(t), dir: t.TempDir()}
			w.origin, w.replica = "host.a/"+w.segment, w.segment+"@host.a"
			t.Cleanup(func() { _ = shm.Remove(w.segment); _ = shm.Remove(w.replica) })
			s, err := shm.Open(w.segment, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			type wide struct{ X [32]int64 } // 256 bytes
			var all [values]shm.Struct[wide]
			for i := range all {
				if all[i], err = shm.NewStruct(s, fmt.Sprint("value ", i), wide{}); err != nil {
					t.Fatal(err)
				}
			}
			w.startServer()
			k := newLink(t, w.addr)
			direct, through := "nats://"+w.addr, "nats://"+k.addr
			if w.nats = direct; side == "owner" {
				w.nats = through
			}
			w.startServe()
			if w.nats = through; side == "owner" {
				w.nats = direct
			}
			w.startFollow()
			w.is("live", "no writer")
			k.rate.Store(rate)
			var x int64
			for end := time.Now().Add(12 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				x++
				for i := range all {
					all[i].Store(wide{[32]int64{x}})
				}
			}
			r, err := shm.Open(w.replica, &shm.Options{ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			applied, err := shm.NewAtomic(r, "mirror/applied", uint64(0))
			if err != nil {
				t.Fatal(err)
			}
			before := applied.Load()
			eventually(t, func() string {
				for i := range all {
					v, err := shm.NewStruct(r, fmt.Sprint("value ", i), wide{})
					if err != nil {
						return err.Error()
					}
					if got := v.Load().X[0]; got != x {
						return fmt.Sprintf("value %d is %d, not %d", i, got, x)
					}
				}
				return ""
			})
			after := applied.Load() - before
			t.Logf("%d changes were applied within 12 s, of %d made; %d afterwards", before, values*x, after)
			if after > most {
				t.Errorf("%d messages of %d values came after the last change", after, values)
			}
		})
	}
}
