package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if status, worked := Worker(); worked {
		os.Exit(status)
	}
	os.Exit(m.Run())
}

// An answer has a time limit, also where pipes have no deadline.
func TestAnswerInTime(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	p := &process{out: r, lines: bufio.NewReader(r)}
	var got int
	for _, within := range []time.Duration{0, time.Minute} {
		if _, err := io.WriteString(w, "7\n"); err != nil {
			t.Fatal(err)
		}
		if err := p.answer(&got, within); err != nil || got != 7 {
			t.Errorf("within %v: %d, %v", within, got, err)
		}
	}
	if err := p.answer(&got, 10*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
	if err := w.Close(); err != nil { // before r: the goroutine of the last answer may still read
		t.Error(err)
	}
}

// A worker counts in the segment that it has inherited, and its increments are seen.
func TestWorkersInherit(t *testing.T) {
	for _, name := range []string{"atomic", "pipe"} {
		w, err := wayNamed(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := w.contend(context.Background(), 2, 10*time.Millisecond)
		if err != nil || r.Ops == 0 || r.Lost != 0 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	j := job{Files: []uintptr{3}}
	if _, err := j.file(gateFile, "gate"); err == nil {
		t.Error("a file that was not inherited was found")
	}
}

// A worker ends when the process that has started it is killed.
func TestWorkersEndWithParent(t *testing.T) {
	const variable = "SHM_BENCH_TEST_PARENT"
	if os.Getenv(variable) != "" {
		w, err := wayNamed("atomic")
		if err != nil {
			t.Fatal(err)
		}
		c, err := startWorkers(context.Background(), w, 1, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		// It increments without end, and has this process's standard output open.
		p, err := c.start(job{Role: holds}, nil, []*os.File{os.Stdout})
		if err == nil {
			err = p.awaitReady()
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := json.NewEncoder(os.Stdout).Encode(p.cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
		select {}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run", "^TestWorkersEndWithParent$") // #nosec G204 -- this program
	cmd.Env = append(os.Environ(), variable+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	line, err := lines.ReadBytes('\n')
	var pid int
	err = errors.Join(err, json.Unmarshal(line, &pid), cmd.Process.Kill())
	if err != nil {
		t.Fatal(err)
	}
	slow := time.AfterFunc(30*time.Second, func() {
		t.Error("a worker outlives the process that has started it")
		if worker, err := os.FindProcess(pid); err == nil {
			_ = worker.Kill()
		}
	})
	_, err = io.Copy(io.Discard, lines) // ends when nobody has the pipe open for writing
	slow.Stop()
	_ = cmd.Wait() // it was killed
	if err != nil {
		t.Error(err)
	}
}
