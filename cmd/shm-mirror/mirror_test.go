package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm-mirror/internal/broker"
)

// The processes of these tests are this test's own program: the command itself, writers of
// the owner's segment, and NATS servers.
func TestMain(m *testing.M) {
	switch os.Getenv("SHM_MIRROR_TEST") {
	case "mirror":
		main()
	case "writer":
		write(os.Args[1:])
	case "server":
		serveNATS(os.Args[1:])
	default:
		os.Exit(m.Run())
	}
}

// point's fields are each other's negation in every value that is whole.
type point struct{ X, Y int64 }

// plant is what writers of the owner write.
type plant struct {
	N      shm.Value[int64]       `shm:"n,unit=pieces,help=counts up"`
	P      shm.Struct[point]      `shm:"a point"`
	Count  shm.Counter[uint64]    `shm:"count"`
	Level  shm.Gauge[int64]       `shm:"level"`
	Took   shm.Histogram          `shm:"took,bounds=1;10"`
	Ring   shm.Ring[point]        `shm:"ring,len=4096"`
	Empty  shm.Ring[point]        `shm:"empty,len=8"`
	Rows   shm.Table[point]       `shm:"rows,len=3"`
	Text   shm.String             `shm:"text,len=40"`
	Atomic shm.Atomic[uint32]     `shm:"atomic"`
	Words  shm.AtomicArray[int64] `shm:"words,len=2"`
	Limit  shm.Value[int32]       `shm:"limit"`
	Large  shm.RawArray[byte]     `shm:"large,len=3000000"`
	Raw    shm.RawValue[int64]    `shm:"raw"`
	Mutex  *shm.Mutex             `shm:"mutex"`
	Secret shm.Value[int64]       `shm:"secret"`
	Low    shm.Value[int64]       `shm:"limits/low"`
}

// write changes the values of a segment until it is killed: all from the number in args
// on, once a millisecond.
func write(args []string) {
	var from int64
	fmt.Sscan(args[1], &from)
	s, err := shm.Open(args[0], nil)
	var v plant
	if err == nil {
		err = shm.Bind(s, &v)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("writing")
	for i := from; ; i++ {
		v.N.Store(i)
		v.P.Store(point{i, -i})
		v.Count.Add(1)
		v.Level.Set(i)
		v.Took.Observe(float64(i % 20))
		v.Ring.Append(point{i, -i})
		v.Rows.Row(int(i % 3)).Store(point{i, -i})
		_ = v.Text.Store(fmt.Sprint(i))
		v.Atomic.Store(uint32(i))
		v.Words.At(1).Store(i)
		v.Raw.Set(i)
		time.Sleep(time.Millisecond)
	}
}

// serveNATS is a NATS server: address, directory and configuration are args.
func serveNATS(args []string) {
	s, err := broker.Embed(args[0], args[1], args[2])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("serving", s.Addr())
	select {}
}

// process is a process of a test. It is killed when the test ends.
type process struct {
	*exec.Cmd
	t    *testing.T
	log  *bytes.Buffer
	done chan struct{}
}

func start(t *testing.T, role string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0], args...), t: t, log: new(bytes.Buffer), done: make(chan struct{})}
	p.Env = append(os.Environ(), "SHM_MIRROR_TEST="+role)
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.Stderr = p.log
	out, err := p.StdoutPipe()
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if role != "mirror" {
		text, err := bufio.NewReader(out).ReadString('\n')
		if err != nil || !strings.Contains(text, "ing") {
			t.Fatalf("%s %q said %q, %v", role, args, text, err)
		}
	}
	go func() { _ = p.Wait(); close(p.done) }()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s %q:\n%s", role, args, p.log)
		}
	})
	return p
}

// kill kills the process with SIGKILL, and returns when it is gone.
func (p *process) kill() {
	_ = p.Process.Kill()
	<-p.done
}

// eventually waits until ok returns "". Otherwise it ends the test with what ok said last.
func eventually(t *testing.T, ok func() string) {
	t.Helper()
	said := ""
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if said = ok(); said == "" {
			return
		}
	}
	t.Fatal("a minute later: ", said)
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// world is an owner, a server and a replica.
type world struct {
	t                             *testing.T
	segment, origin, replica      string
	addr, dir                     string
	nats                          string
	writer, server, serve, follow *process
	serveFlags                    []string
}

func segmentName(t *testing.T) string {
	return fmt.Sprintf("shmtest-%d-%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "-"))
}

func newWorld(t *testing.T, serveFlags ...string) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a server, agents and writers")
	}
	w := &world{t: t, segment: segmentName(t), addr: freePort(t), dir: t.TempDir(), serveFlags: serveFlags}
	w.origin, w.replica, w.nats = "host.a/"+w.segment, w.segment+"@host.a", "nats://"+w.addr
	t.Cleanup(func() { _ = shm.Remove(w.segment); _ = shm.Remove(w.replica) })
	w.startServer()
	w.startWriter(1)
	w.startServe()
	w.startFollow()
	w.live()
	return w
}

func (w *world) startServer()        { w.server = start(w.t, "server", w.addr, w.dir, "") }
func (w *world) startWriter(n int64) { w.writer = start(w.t, "writer", w.segment, fmt.Sprint(n)) }
func (w *world) startFollow()        { w.follow = start(w.t, "mirror", "follow", "-nats", w.nats, w.origin) }
func (w *world) startServe() {
	args := append([]string{"serve", "-nats", w.nats, "-host", "host.a", "-interval", "20ms"}, w.serveFlags...)
	w.serve = start(w.t, "mirror", append(args, w.segment)...)
}

// bound is a segment with what is in it.
func bound[T any](t *testing.T, name string) *T {
	t.Helper()
	s, err := shm.Open(name, &shm.Options{ReadOnly: true})
	v := new(T)
	if err == nil {
		t.Cleanup(func() { _ = s.Close() })
		err = shm.Bind(s, v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// status is the state of the replica, and its fields of this test.
type status struct {
	State   shm.String         `shm:"mirror/state,len=32"`
	Stale   shm.Value[int64]   `shm:"mirror/stale since"`
	Dead    shm.Atomic[uint32] `shm:"mirror/dead"`
	Missed  shm.Atomic[uint64] `shm:"mirror/missed"`
	Refused shm.Atomic[uint64] `shm:"mirror/refused"`
	Why     shm.String         `shm:"mirror/why,len=2000"`
}

// is waits until the replica has a state.
func (w *world) is(states ...string) *status {
	w.t.Helper()
	var st *status
	eventually(w.t, func() string {
		s, err := shm.Open(w.replica, &shm.Options{ReadOnly: true})
		if err != nil {
			return err.Error()
		}
		defer s.Close()
		st = new(status)
		if err := shm.Bind(s, st); err != nil {
			return err.Error()
		}
		for _, state := range states {
			if st.State.Load() == state {
				return ""
			}
		}
		return fmt.Sprintf("the replica is %q, not %q", st.State.Load(), states)
	})
	return st
}

// live waits until the replica is live and has the newest values.
func (w *world) live() *status {
	w.t.Helper()
	st := w.is("live", "no writer")
	if since := st.Stale.Load(); since != 0 {
		w.t.Errorf("a live replica is stale since %v", time.Unix(0, since))
	}
	w.catchesUp()
	return st
}

// copied is what a replica of a plant has without -raw.
type copied struct {
	N      shm.Value[int64]       `shm:"n"`
	P      shm.Struct[point]      `shm:"a point"`
	Count  shm.Counter[uint64]    `shm:"count"`
	Level  shm.Gauge[int64]       `shm:"level"`
	Took   shm.Histogram          `shm:"took,bounds=1;10"`
	Ring   shm.Ring[point]        `shm:"ring,len=4096"`
	Empty  shm.Ring[point]        `shm:"empty,len=8"`
	Rows   shm.Table[point]       `shm:"rows,len=3"`
	Text   shm.String             `shm:"text,len=40"`
	Atomic shm.Atomic[uint32]     `shm:"atomic"`
	Words  shm.AtomicArray[int64] `shm:"words,len=2"`
	Limit  shm.Value[int32]       `shm:"limit"`
}

// catchesUp waits until the replica has what the owner has now, or something newer.
func (w *world) catchesUp() *copied {
	w.t.Helper()
	s, err := shm.Open(w.segment, &shm.Options{ReadOnly: true})
	if err != nil {
		w.t.Fatal(err)
	}
	defer s.Close()
	o := new(copied)
	if err := shm.Bind(s, o); err != nil {
		w.t.Fatal(err)
	}
	n, count := o.N.Load(), o.Count.Load()
	var r *copied
	eventually(w.t, func() string {
		s, err := shm.Open(w.replica, &shm.Options{ReadOnly: true})
		if err != nil {
			return err.Error()
		}
		defer s.Close()
		r = new(copied)
		if err := shm.Bind(s, r); err != nil {
			return err.Error()
		}
		last, _, _ := r.Ring.Last()
		for name, x := range map[string]int64{
			"n": r.N.Load(), "a point": r.P.Load().X, "level": r.Level.Load(), "ring": last.X, "rows": r.Rows.Row(0).Load().X + 2,
			"atomic": int64(r.Atomic.Load()) + 1, "words": r.Words.At(1).Load() + 1,
		} {
			if x < n-1 || x > n+1e9 {
				return fmt.Sprintf("%s is %d, and n of the owner was %d", name, x, n)
			}
		}
		if c := r.Count.Load(); c < count {
			return fmt.Sprintf("the counter is %d, and was %d", c, count)
		}
		return ""
	})
	if p := r.P.Load(); p.X != -p.Y {
		w.t.Errorf("torn: %v", p)
	}
	if _, seq, ok := r.Empty.Last(); ok {
		w.t.Errorf("the ring that nobody appends to has number %d", seq)
	}
	return r
}

// run runs the command and returns what it printed and its exit status.
func run(t *testing.T, args ...string) (out string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, os.Args[0], args...)
	c.Env = append(os.Environ(), "SHM_MIRROR_TEST=mirror", "NATS_URL=")
	b, err := c.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%q did not end: %s", args, b)
	}
	_ = err
	return string(b), c.ProcessState.ExitCode()
}

func write1(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
