package hotrestart_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.org/shm/examples/internal/programs"
)

var bin string // directory of the programs

func TestMain(m *testing.M) {
	// A server that was replaced ends before the server that it has started. The
	// latter is then a child of this process.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(programs.Main(m, &bin, "./release1", "./release2"))
}

// install puts a program at a path, where another program may be running.
func install(t *testing.T, program, path string) {
	t.Helper()
	if err := os.Link(program, path+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// post uploads a body over a connection of its own.
func post(client *http.Client, url string, body io.Reader, slow bool) (answer string, err error) {
	r, err := http.NewRequest("POST", url, body)
	if err != nil {
		return "", err
	}
	r.Close = true
	if slow { // the client sends the body only when the handler reads it
		r.Header.Set("Expect", "100-continue")
	}
	a, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%v: %s, %s", err, a.Status, text)
	}
	return string(text), nil
}

func TestHotRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server")
	install(t, filepath.Join(bin, "release1"), path)
	first := programs.Start(t, path, "-addr", "127.0.0.1:0")
	old := first.Pid()
	url := first.Line(fmt.Sprintf("process %d serves ", old))
	client := programs.Client(t)
	upload := func(text, want string) {
		t.Helper()
		if got, err := post(client, url, strings.NewReader(text), false); err != nil || got != want+"\n" {
			t.Fatalf("%v, %q, want %q", err, got, want)
		}
	}
	stats := func(want string) {
		t.Helper()
		if got := programs.Get(t, url+"/stats"); got != want+"\n" {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	upload("abc", fmt.Sprintf("release 1, process %d: 3 bytes", old))
	upload("", fmt.Sprintf("release 1, process %d: 0 bytes", old))

	// One upload is under way while the next version takes over, and other uploads
	// begin and end.
	slow := programs.Client(t)
	slow.Transport.(*http.Transport).ExpectContinueTimeout = time.Hour
	body, rest := io.Pipe()
	var slowAnswer string
	var slowErr error
	var slowDone sync.WaitGroup
	slowDone.Go(func() { slowAnswer, slowErr = post(slow, url, body, true) })
	if _, err := io.WriteString(rest, "sl"); err != nil {
		t.Fatal(err)
	}
	var others atomic.Int64 // number of uploads of one byte each
	var stop atomic.Bool
	var load sync.WaitGroup
	for range 3 {
		load.Go(func() {
			for !stop.Load() {
				if answer, err := post(client, url, strings.NewReader("x"), false); err != nil || !strings.HasSuffix(answer, ": 1 bytes\n") {
					t.Errorf("%v, %q", err, answer)
					return
				}
				others.Add(1)
			}
		})
	}
	programs.Eventually(t, "uploads before the restart", func() bool { return others.Load() > 10 || t.Failed() })
	install(t, filepath.Join(bin, "release2"), path)
	first.Signal(syscall.SIGHUP)
	second := successor(t, first, url)
	new := second.pid
	first.Line(fmt.Sprintf("process %d drains", old))
	now := others.Load()
	programs.Eventually(t, "uploads after the restart", func() bool { return others.Load() > now+10 || t.Failed() })
	stop.Store(true)
	load.Wait()

	// The old process still has its upload. The new process continues with the same
	// counters. It counts empty uploads, of which the old process does not know, and
	// the old process keeps that counter.
	n := others.Load()
	stats(fmt.Sprintf("release 2, process %d: %d uploads, %d bytes, 0 empty", new, n+2, n+3))
	upload("", fmt.Sprintf("release 2, process %d: 0 bytes", new))
	if _, err := io.WriteString(rest, "ow"); err != nil {
		t.Fatal(err)
	}
	if err := rest.Close(); err != nil {
		t.Fatal(err)
	}
	slowDone.Wait()
	if want := fmt.Sprintf("release 1, process %d: 4 bytes\n", old); slowErr != nil || slowAnswer != want {
		t.Errorf("%v, %q, want %q", slowErr, slowAnswer, want)
	}
	first.Wait()
	stats(fmt.Sprintf("release 2, process %d: %d uploads, %d bytes, 1 empty", new, n+4, n+7))

	// If a version does not start, the running one continues to serve.
	if err := os.WriteFile(path+".broken", []byte("#!/bin/sh\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	install(t, path+".broken", path)
	second.signal(syscall.SIGHUP)
	first.Line(fmt.Sprintf("process %d goes on: the next one ended: exit status 3", new))
	stats(fmt.Sprintf("release 2, process %d: %d uploads, %d bytes, 1 empty", new, n+4, n+7))

	// The old version takes over again and keeps the counter that it does not know.
	// Then the new version takes over once more.
	install(t, filepath.Join(bin, "release1"), path)
	second.signal(syscall.SIGHUP)
	third := successor(t, first, url)
	second.wait()
	upload("12", fmt.Sprintf("release 1, process %d: 2 bytes", third.pid))
	install(t, filepath.Join(bin, "release2"), path)
	third.signal(syscall.SIGHUP)
	fourth := successor(t, first, url)
	third.wait()
	stats(fmt.Sprintf("release 2, process %d: %d uploads, %d bytes, 1 empty", fourth.pid, n+5, n+9))
	fourth.signal(syscall.SIGTERM)
	fourth.wait()
	first.Rest() // returns when no process is left
}

// An orphan is a server that another server has started. When that one has ended,
// the orphan is a child of this process.
type orphan struct {
	t      *testing.T
	pid    int
	reaped bool
}

// successor returns the next process that prints that it serves. It is killed when
// the test ends.
func successor(t *testing.T, p *programs.Process, url string) *orphan {
	t.Helper()
	o := &orphan{t: t}
	for serves := false; !serves; { // the other lines say that a process drains
		var pid string
		pid, serves = strings.CutSuffix(p.Line("process "), " serves "+url)
		o.pid, _ = strconv.Atoi(pid)
	}
	t.Cleanup(func() {
		if !o.reaped {
			_ = syscall.Kill(o.pid, syscall.SIGKILL)
			_, _ = syscall.Wait4(o.pid, nil, 0, nil)
		}
	})
	return o
}

func (o *orphan) signal(s syscall.Signal) {
	o.t.Helper()
	if err := syscall.Kill(o.pid, s); err != nil {
		o.t.Fatal(err)
	}
}

// wait waits for the process to end with exit status 0.
func (o *orphan) wait() {
	o.t.Helper()
	var status syscall.WaitStatus
	programs.Eventually(o.t, fmt.Sprintf("process %d ends", o.pid), func() bool {
		pid, err := syscall.Wait4(o.pid, &status, syscall.WNOHANG, nil)
		if err != nil {
			o.t.Fatal(err)
		}
		return pid == o.pid
	})
	o.reaped = true
	if !status.Exited() || status.ExitStatus() != 0 {
		o.t.Errorf("process %d ended with %#x", o.pid, status)
	}
}
