package shmtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/race"
)

// childCommand returns the command of a child that attaches to s and runs f, and what
// collects the child's output. Files are its descriptors from 3 on. It ends the test if
// that is impossible.
func childCommand(t testing.TB, s *shm.Segment, f func(*shm.Segment), how string, files ...*os.File) (*exec.Cmd, *output) {
	t.Helper()
	if !mainCalled.Load() {
		t.Fatal("shmtest: this package needs: func TestMain(m *testing.M) { shmtest.Main(m) }")
	}
	described, err := functionOf(f)
	if err != nil {
		t.Fatalf("shmtest: %v", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatalf("shmtest: %v", err)
	}
	cmd := exec.Command(self, os.Args[1:]...) // Flags are for the function too.
	cmd.ExtraFiles = files
	cmd.Env = append(cmd.Environ(), fmt.Sprintf("%s=%s %d %s %s", variable, how, len(s.Name()), s.Name(), described))
	if race.Enabled { // Otherwise the process sleeps for a second before it exits.
		cmd.Env = append(cmd.Env, "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	}
	out := &output{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = 5 * time.Second // What the child has started may keep the output open.
	s.Pass(cmd)
	return cmd, out
}

// output keeps what a child has printed: the begin and the end of it, if it is much.
type output struct {
	mu         sync.Mutex
	begin, end bytes.Buffer
	left       int // bytes left out
}

// half is how many bytes are kept of the begin, and of the end.
const half = 32 << 10

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(b)
	first := min(half-o.begin.Len(), n)
	o.begin.Write(b[:first])
	o.end.Write(b[first:])
	if more := o.end.Len() - half; more > 0 {
		o.end.Next(more)
		o.left += more
	}
	return n, nil
}

// String returns what was printed, after a line break; "" if that is nothing.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.begin.Len() == 0:
		return ""
	case o.left > 0:
		return fmt.Sprintf("\n%s\n… %d bytes …\n%s", o.begin.Bytes(), o.left, o.end.Bytes())
	}
	return fmt.Sprintf("\n%s%s", o.begin.Bytes(), o.end.Bytes())
}
