package proc

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
)

// eventually waits for a change that the system makes at a time of its own.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestStates(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	pid := cmd.Process.Pid
	is := func(want State) func() bool { return func() bool { return StateOf(pid) == want } }
	eventually(t, "running", is(Running))
	for _, c := range []struct {
		signal syscall.Signal
		want   State
	}{{syscall.SIGSTOP, Stopped}, {syscall.SIGCONT, Running}, {syscall.SIGKILL, Dead}} {
		if err := cmd.Process.Signal(c.signal); err != nil {
			t.Fatal(err)
		}
		eventually(t, string(c.want), is(c.want))
	}
	_ = cmd.Wait()
	eventually(t, "gone", is(Gone))
}

// TestWords finds the mapping of a segment in this very process, and the lock for which a
// goroutine of it waits.
func TestWords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "segment")
	s, err := shm.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	v, err := shm.NewValue(s, "v", int64(0))
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	sys := st.Sys().(*syscall.Stat_t)
	key := KeyOf(uint64(sys.Dev), uint64(sys.Ino))
	found, err := mappings(os.Getpid())
	if err != nil || !found[key] {
		t.Fatalf("the mappings are %v: %v", found, err)
	}
	e, ok := s.Lookup("v")
	if !ok {
		t.Fatal("no value")
	}
	// docs/FORMAT.md: the number is at byte 48 of its cell, the change word at byte 4.
	change := e.Offset - 48 + 4
	words := func() []int64 {
		offsets, err := Words(os.Getpid(), key)
		if err != nil {
			t.Skip(err)
		}
		return offsets
	}
	if slices.Contains(words(), change) {
		t.Error("nobody waits for a change")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = v.Await(ctx, func(n int64) bool { return n > 0 })
	}()
	eventually(t, "the change word", func() bool { return slices.Contains(words(), change) })
	cancel()
	<-done
	eventually(t, "nobody waits any more", func() bool { return !slices.Contains(words(), change) })
}

// TestScan does not list this process.
func TestScan(t *testing.T) {
	m, err := Scan()
	if err != nil {
		t.Fatal(err)
	}
	for k, all := range m.by {
		for _, p := range all {
			if p.Pid == os.Getpid() || p.Pid == 0 || k.Inode == 0 {
				t.Errorf("%v has %+v", k, p)
			}
		}
	}
}

// What /proc leaves out is known from its mount options.
func TestWhatProcLeavesOut(t *testing.T) {
	proc := func(options string) string {
		return "62 44 0:38 / /proc rw,relatime shared:7 - proc proc rw" + options + "\n"
	}
	other := "63 44 0:39 / /srv/proc rw - proc proc rw,hidepid=2\n"
	for _, c := range []struct {
		mounts string
		want   bool
	}{
		{"", false}, {other, false}, {proc(""), false}, {proc(",hidepid=1"), false}, {proc(",hidepid=noaccess"), false},
		{proc(",hidepid=2"), true}, {proc(",gid=4,hidepid=invisible"), true}, {proc(",hidepid=ptraceable"), true}, {proc(",hidepid=4") + other, true},
		{proc(",hidepid=2") + proc(""), false}, {proc("") + proc(",hidepid=2"), true},
	} {
		if got := leavesOut(c.mounts); got != c.want {
			t.Errorf("%q leaves out processes: %v", c.mounts, got)
		}
	}
	m, err := Scan()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/proc/1"); (err != nil) && !m.Unlisted || m.Blind {
		t.Errorf("%v, and %+v", err, m)
	}
}
