package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.org/shm"
	"example.org/shm/examples/internal/programs"
)

var bin string // directory of the program

func TestMain(m *testing.M) { os.Exit(programs.Main(m, &bin, ".")) }

// python returns a command that runs a Python program of this directory. It skips
// the test if no Python can run the program.
func python(t *testing.T, needs string, args ...string) *exec.Cmd {
	t.Helper()
	interpreter, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3: ", err)
	}
	environ := append(os.Environ(), "PYTHONPATH=../../python", "PYTHONDONTWRITEBYTECODE=1")
	check := exec.Command(interpreter, "-c", "import sys; sys.version_info < (3, 9) and sys.exit('older than 3.9'); import "+needs+", shm; sys.exit(shm.atomics.unavailable)")
	check.Env = environ
	if out, err := check.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		t.Skipf("%s is no use: %v: %s", interpreter, err, lines[len(lines)-1])
	}
	cmd := exec.Command(interpreter, args...)
	cmd.Env = environ
	return cmd
}

// rate is chosen so that a frame has eight whole periods of its tone.
const rate = 44000

func startFeed(t *testing.T, name string) (p *programs.Process, from int64) {
	t.Helper()
	p = programs.StartCmd(t, python(t, "ctypes", "feed.py", "--name", name, "--rate", fmt.Sprint(rate)))
	if _, err := fmt.Sscanf(p.Line("feeding from frame "), "%d on", &from); err != nil {
		t.Fatal(err)
	}
	return p, from
}

// checkFrame checks a line about a frame, and returns the number of the frame.
func checkFrame(t *testing.T, line string) (n int64) {
	t.Helper()
	if _, err := fmt.Sscanf(line, "%d: ", &n); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	loud := 0.1 * float64(1+n%10)
	if want := fmt.Sprintf("%d: rms %.3f, peak %.3f, ", n, loud/math.Sqrt2, loud); !strings.HasPrefix(line, want) {
		t.Fatalf("%q, want %q", line, want)
	}
	return n
}

// checkFrames checks some more frames, each of which must be newer than the last.
func checkFrames(t *testing.T, p *programs.Process, last int64) int64 {
	t.Helper()
	for range 5 {
		n := checkFrame(t, p.Line("frame "))
		if n <= last {
			t.Fatalf("frame %d after %d", n, last)
		}
		last = n
	}
	return last
}

// lockOf returns the state of the samples' lock.
func lockOf(seg *shm.Segment) shm.LockInfo {
	e, _ := seg.Lookup("samples")
	lock, _ := e.Lock()
	return lock
}

// stopInLock stops a feed while it holds the lock. The feed holds the lock for a
// moment only, most likely just after it has waited for the lock.
func stopInLock(t *testing.T, seg *shm.Segment, mu *shm.Mutex, pid int) {
	t.Helper()
	signal := func(s syscall.Signal) {
		if err := syscall.Kill(pid, s); err != nil {
			t.Fatal(err)
		}
	}
	programs.Eventually(t, "the feed is stopped in the middle", func() bool {
		mu.Lock()
		programs.Eventually(t, "the feed waits", func() bool { return lockOf(seg).Waiting })
		mu.Unlock()
		for range 1000 {
			if lockOf(seg).Pid == pid {
				break
			}
		}
		signal(syscall.SIGSTOP)
		if _, err := syscall.Wait4(pid, nil, syscall.WUNTRACED, nil); err != nil { // until it has stopped
			t.Fatal(err)
		}
		if lockOf(seg).Pid == pid {
			return true
		}
		signal(syscall.SIGCONT)
		return false
	})
}

// TestTake checks which frames a slow reader still finds, and what is in them.
func TestTake(t *testing.T) {
	seg, err := shm.Anonymous(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer seg.Close()
	var f feed
	if err := shm.Bind(seg, &f); err != nil {
		t.Fatal(err)
	}
	const written = 20
	f.Samples.WithLock(func(samples []float64) {
		for n := range written + 1 { // the last one is not committed, as if the feed was killed
			samples[n%slots*size] = float64(n)
		}
		f.Header.Store(header{Frames: written})
	})
	var frames [slots][size]float64
	for _, c := range []struct{ next, first int64 }{{0, 13}, {12, 13}, {13, 13}, {18, 18}, {20, 20}} {
		first, h := f.take(c.next, &frames)
		if first != c.first || h.Frames != written {
			t.Errorf("from frame %d on: %d to %d, want %d to %d", c.next, first, h.Frames, c.first, written)
		}
		for n := first; n < h.Frames; n++ {
			if x := frames[n%slots][0]; x != float64(n) {
				t.Errorf("frame %d is %v", n, x)
			}
		}
	}
}

func TestFeed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "feed")
	reader := programs.Start(t, filepath.Join(bin, "pythonfeed"), "-name", name) // the reader starts before the feed
	writer, from := startFeed(t, name)
	if from != 0 {
		t.Errorf("the first feed starts from frame %d", from)
	}
	last := checkFrames(t, reader, -1)

	t.Run("numpy", func(t *testing.T) {
		var out, complaints bytes.Buffer
		show := python(t, "numpy", "show.py", "--name", name, "--frames", "3")
		show.Stdout, show.Stderr = &out, &complaints
		if err := show.Run(); err != nil {
			t.Fatalf("%v\n%s", err, &complaints)
		}
		shown, lines := int64(-1), 0
		for line := range strings.Lines(out.String()) {
			line, _ = strings.CutPrefix(line, "frame ")
			n := checkFrame(t, line)
			if n <= shown || !strings.HasSuffix(line, ", 440 Hz\n") {
				t.Errorf("after frame %d: %q", shown, line)
			}
			shown = n
			lines++
		}
		if lines != 3 {
			t.Errorf("it showed %d frames", lines)
		}
	})

	// If a feed is killed while it holds the lock, no process keeps waiting, and the
	// next feed continues after the last frame.
	seg, err := shm.Open(name, &shm.Options{MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer seg.Close()
	var f feed
	if err := shm.Bind(seg, &f); err != nil {
		t.Fatal(err)
	}
	stopInLock(t, seg, f.Samples.Mutex(), writer.Pid())
	written := f.Header.Load().Frames
	writer.Kill()
	if _, from = startFeed(t, name); from != written && from != written+1 { // it was killed before its commit or after it
		t.Errorf("the second feed starts from frame %d, the first had written %d", from, written)
	}
	for last < from {
		last = checkFrame(t, reader.Line("frame "))
	}
	checkFrames(t, reader, last)
	if lock := lockOf(seg); lock.Takeovers == 0 {
		t.Errorf("nobody took the lock of the dead: %v", lock)
	}

	reader.Signal(syscall.SIGTERM)
	reader.Wait()
}
