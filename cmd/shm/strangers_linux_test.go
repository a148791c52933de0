package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"example.org/shm"
)

// pythonProgram uses a segment that the tests of this package have not made. It holds a
// lock, and then says ready.
const pythonProgram = `
import sys, ctypes, shm
class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int32), ("y", ctypes.c_int32)]
seg = shm.open(sys.argv[1], create=True)
point = seg.struct("point", Point, (3, 4), unit="m", help="made by Python")
seg.counter("hits", "Q").add(7)
lock = seg.mutex("lock")
with lock:
    print("ready", flush=True)
    sys.stdin.read()
`

// TestPythonProgram looks at a program in Python that holds a lock, is stopped and is
// killed.
func TestPythonProgram(t *testing.T) {
	if !hasPython() {
		t.Skip("no python3")
	}
	root, err := filepath.Abs("../../python")
	if err != nil {
		t.Fatal(err)
	}
	seg := filepath.Join(t.TempDir(), "points")
	cmd := exec.Command("python3", "-c", pythonProgram, seg)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+root, "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{cmd, stdin, bufio.NewScanner(out)}
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
	})
	p.expect(t, "ready")
	if r := shmTool(t, "get", seg, "point", "hits", "point.y"); r.stdout != "{x: 3, y: 4}\n7\n4\n" {
		t.Errorf("get: %+v", r)
	}
	p.signal(t, syscall.SIGSTOP)
	eventually(t, "the tool sees that it is stopped", func() bool {
		locks := inJSON[lockData](t, "locks", "locks", "-i", "1ms", seg)
		return len(locks) == 1 && locks[0].Name == "lock" && locks[0].Pid == cmd.Process.Pid && locks[0].State == "stopped"
	})
	p.signal(t, syscall.SIGKILL)
	_ = p.Wait()
	locks := inJSON[lockData](t, "locks", "locks", "-i", "1ms", seg)
	if len(locks) != 1 || locks[0].State != "dead" || !strings.HasPrefix(locks[0].Program, "python") {
		t.Errorf("after the kill: %+v", locks)
	}
	if r := shmTool(t, "add", seg, "hits", "3"); r.stdout != "hits: 7 -> 10\n" {
		t.Errorf("add: %+v", r)
	}
	if r := shmTool(t, "set", seg, "point={x: 5}"); r.stdout != "point: {x: 3, y: 4} -> {x: 5, y: 4}\n" {
		t.Errorf("set: %+v", r)
	}
}

// TestWaiters finds the processes that wait for a lock.
func TestWaiters(t *testing.T) {
	seg := fixture(t)
	holder := start(t, "hold", seg)
	r := prepare(t, "set", "-timeout", "0", seg, "config.Limit=5")
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	pid := r.Process.Pid
	var l lockData
	eventually(t, "the tool sees who waits", func() bool {
		locks := inJSON[lockData](t, "locks", "locks", "-i", "1ms", seg)
		if len(locks) == 1 {
			l = locks[0]
		}
		return slices.Equal(l.Waiters, []int{pid})
	})
	if table := shmTool(t, "locks", "-i", "1ms", seg); !strings.Contains(table.stdout, "waiters: "+strconv.Itoa(pid)) {
		t.Errorf("locks: %+v", table)
	}
	for _, p := range inJSON[processData](t, "processes", "ps", seg) {
		switch p.Pid {
		case holder.Process.Pid:
			if !slices.Equal(p.Holds, []string{"config"}) || len(p.WaitsFor) > 0 {
				t.Errorf("the holder is %+v", p)
			}
		case pid:
			if !slices.Equal(p.WaitsFor, []string{"config"}) || len(p.Holds) > 0 {
				t.Errorf("the waiter is %+v", p)
			}
		default:
			t.Errorf("a stranger: %+v", p)
		}
	}
	if err := holder.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if status := r.status(); status != 0 || !strings.Contains(r.stdout.String(), "-> 5") {
		t.Errorf("the waiter: %d, %q, %q", status, &r.stdout, &r.stderr)
	}

	w := prepare(t, "wait", seg, "load", "load > 100")
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the tool sees who awaits a change", func() bool {
		return slices.ContainsFunc(inJSON[processData](t, "processes", "ps", seg), func(p processData) bool {
			return p.Pid == w.Process.Pid && slices.Equal(p.Awaits, []string{"load"})
		})
	})
	if r := shmTool(t, "set", seg, "load=101"); r.status != 0 {
		t.Errorf("%+v", r)
	}
	if status := w.status(); status != 0 || w.stdout.String() != "101\n" {
		t.Errorf("wait: %d, %q", status, &w.stdout)
	}
}

// TestAddToCounters adds to each type of Counter, and not to what has no sum of its own.
func TestAddToCounters(t *testing.T) {
	seg := filepath.Join(t.TempDir(), "counters")
	s, err := shm.Open(seg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var b struct {
		I shm.Counter[int64]
		U shm.Counter[uint64]
		F shm.Counter[float64]
		G shm.Gauge[int64]
		H shm.Histogram `shm:",bounds=1"`
	}
	if err := shm.Bind(s, &b); err != nil {
		t.Fatal(err)
	}
	b.U.Add(5)
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"I -3", 0, "I: 0 -> -3\n"}, {"U 0x10", 0, "U: 5 -> 21\n"}, {"F 1e3", 0, "F: 0 -> 1000\n"}, {"I 2", 0, "I: -3 -> -1\n"},
		{"U 18446744073709551615", 1, ""}, {"I -9223372036854775808", 1, ""},
		{"U -1", 1, ""}, {"U x", 1, ""}, {"I 1.5", 1, ""}, {"I 9223372036854775808", 1, ""}, {"G 1", 1, ""}, {"H 1", 1, ""}, {"I.x 1", 3, ""},
	} {
		r := shmTool(t, append([]string{"add", seg}, strings.Fields(c.args)...)...)
		if r.status != c.status || r.stdout != c.want || (c.status != 0) != (r.stderr != "") {
			t.Errorf("add %s: %+v", c.args, r)
		}
	}
	if b.I.Load() != -1 || b.U.Load() != 21 || b.F.Load() != 1000 {
		t.Errorf("the counters are %d, %d and %v", b.I.Load(), b.U.Load(), b.F.Load())
	}
}

// TestCheckAsksOtherLanguages checks that check compares, and says what it did not compare.
func TestCheckAsksOtherLanguages(t *testing.T) {
	seg := fixture(t)
	r := shmTool(t, "check", seg)
	for language, tool := range map[string]string{"Python": "python3", "C": "gcc"} {
		want := "Go and " + language + " agree on 12 values"
		if _, err := exec.LookPath(tool); err != nil {
			want = "not compared with " + language
		}
		if r.status != 0 || !strings.Contains(r.stdout, want) {
			t.Errorf("check does not say %q: %+v", want, r)
		}
	}
	run := prepare(t, "check", seg)
	run.Env = append(run.Env, "PATH=/nonexistent")
	if status := run.status(); status != 0 || !strings.Contains(run.stdout.String(), "not compared with Python: no python3") || !strings.Contains(run.stdout.String(), "not compared with C: no gcc") {
		t.Errorf("without tools: %d\n%s%s", status, &run.stdout, &run.stderr)
	}
}

// If one of several values cannot be set, set tells which it has set before.
func TestSetTellsWhatItHasSet(t *testing.T) {
	seg := filepath.Join(t.TempDir(), "some")
	s, err := shm.Open(seg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var b struct{ A, B, C shm.Value[int8] }
	if err := shm.Bind(s, &b); err != nil {
		t.Fatal(err)
	}
	r := shmTool(t, "set", seg, "A=1", "B=1000", "C=3")
	if r.status != statusFailed || r.stdout != "A: 0 -> 1\n" || strings.Count(r.stderr, "\n") != 1 || b.A.Load() != 1 || b.C.Load() != 0 {
		t.Errorf("%+v; A is %d, C is %d", r, b.A.Load(), b.C.Load())
	}
	b.B.Mutex().Lock()
	defer b.B.Mutex().Unlock()
	r = shmTool(t, "set", "-timeout", "50ms", seg, "A=2", "B=1")
	if r.status != statusLocked || r.stdout != "A: 1 -> 2\n" || !strings.Contains(r.stderr, "lock of B") {
		t.Errorf("%+v", r)
	}
}
