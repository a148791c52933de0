package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"example.org/shm"
)

// screen collects what a program writes to a terminal.
type screen struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.Write(b)
}

func (s *screen) has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.all.String(), text)
}

// forget makes has look at what comes from now on.
func (s *screen) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.Reset()
}

// terminalOf runs watch in a pseudo-terminal.
func terminalOf(t *testing.T, seg string) (cmd *exec.Cmd, terminal *os.File, s *screen, copied chan struct{}) {
	t.Helper()
	cmd = exec.Command(tool, "watch", "-i", "20ms", seg)
	cmd.Env = append(os.Environ(), "TERM=xterm-256color")
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 120})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = terminal.Close()
	})
	s, copied = &screen{}, make(chan struct{})
	go func() {
		defer close(copied)
		b := make([]byte, 4096)
		for {
			n, err := terminal.Read(b) // EIO when the program has ended
			_, _ = s.Write(b[:n])
			if err != nil {
				return
			}
		}
	}()
	return cmd, terminal, s, copied
}

// TestWatchRestoresTheTerminal ends watch in each way. The screen and the cursor are then
// what they were.
func TestWatchRestoresTheTerminal(t *testing.T) {
	seg := fixture(t)
	for _, c := range []struct {
		what   string
		end    func(cmd *exec.Cmd, terminal *os.File) error
		status int
	}{
		{"q", func(_ *exec.Cmd, terminal *os.File) error { _, err := terminal.WriteString("q"); return err }, 0},
		{"Ctrl-C", func(_ *exec.Cmd, terminal *os.File) error { _, err := terminal.WriteString("\x03"); return err }, statusInterrupted},
		{"SIGINT", func(cmd *exec.Cmd, _ *os.File) error { return cmd.Process.Signal(syscall.SIGINT) }, statusInterrupted},
		{"SIGTERM", func(cmd *exec.Cmd, _ *os.File) error { return cmd.Process.Signal(syscall.SIGTERM) }, statusInterrupted},
	} {
		cmd, terminal, s, copied := terminalOf(t, seg)
		eventually(t, "the first screen", func() bool { return s.has("\x1b[?1049h") && s.has("12 of 12 values") })
		if err := c.end(cmd, terminal); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if status := cmd.ProcessState.ExitCode(); status != c.status {
			t.Errorf("%s: exit status %d, want %d", c.what, status, c.status)
		}
		<-copied
		if !s.has("\x1b[?1049l") || !s.has("\x1b[?25h") {
			t.Errorf("%s does not restore the screen", c.what)
		}
	}
}

// TestWatchOnATerminal drives watch in a pseudo-terminal.
func TestWatchOnATerminal(t *testing.T) {
	seg := fixture(t)
	cmd, terminal, s, copied := terminalOf(t, seg)
	press := func(keys string) {
		t.Helper()
		s.forget()
		if _, err := terminal.WriteString(keys); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the first screen", func() bool {
		return s.has("\x1b[?1049h") && s.has("requests") && s.has("12 of 12 values")
	})
	s.forget()
	if r := shmTool(t, "add", seg, "requests", "1111"); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	eventually(t, "a change", func() bool { return s.has("1152") })
	press("?")
	eventually(t, "the help pane", func() bool { return s.has("made by") && s.has("Atomic[uint64]") })
	press("/conf")
	eventually(t, "the filter", func() bool { return s.has("filter") && s.has("conf") })
	press("\r")
	p := start(t, "hold", seg)
	eventually(t, "a held lock", func() bool { return s.has("held") })
	s.forget()
	p.signal(t, syscall.SIGKILL)
	_ = p.Wait()
	eventually(t, "a dead holder", func() bool { return s.has("DEAD") })
	s.forget()
	if err := pty.Setsize(terminal, &pty.Winsize{Rows: 10, Cols: 60}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the screen in its new size", func() bool { return s.has("config") })
	press("q")
	if err := cmd.Wait(); err != nil {
		t.Errorf("after q: %v", err)
	}
	<-copied
	if !s.has("\x1b[?1049l") {
		t.Error("q does not restore the screen")
	}
}

// TestWatchLines runs watch without a terminal.
func TestWatchLines(t *testing.T) {
	seg := fixture(t)
	r := shmTool(t, "watch", "-n", "2", "-i", "10ms", seg, "requests", "odd*", "version", "lock")
	golden(t, "watch", steadyTimes(steady(t, r.stdout, seg)))
	if r.status != 0 || r.stderr != "" {
		t.Errorf("%+v", r)
	}
	r = shmTool(t, "watch", "-n", "1", "-o", "jsonl", seg, "requests", "uptime")
	golden(t, "watch-jsonl", steadyTimes(steady(t, r.stdout, seg)))

	// A change runs the command, and ends the watch as the command fails.
	run := prepare(t, "watch", "-i", "10ms", "-exec", `echo "$SHM_NAME is $SHM_VALUE of $SHM_SEGMENT"; exit 3`, seg, "requests")
	out := &screen{}
	run.Stdout = out
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first look", func() bool { return out.has("41") })
	if r := shmTool(t, "add", seg, "requests", "1"); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	if status := run.status(); status != 1 || !out.has("requests is 42 of "+seg) || !strings.Contains(run.stderr.String(), "exit status 3") {
		t.Errorf("-exec: exit status %d, %q, %q", status, out.all.String(), &run.stderr)
	}
}

// TestRecordAndReplay records a change, and shows it again.
func TestRecordAndReplay(t *testing.T) {
	seg := fixture(t)
	run := prepare(t, "record", "-i", "10ms", seg, "requests", "config")
	out := &screen{}
	run.Stdout = out
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first look", func() bool { return out.has("config") })
	if r := shmTool(t, "set", seg, "config.Limit=77"); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	eventually(t, "the change", func() bool { return out.has(`"Limit":77`) })
	if err := run.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if status := run.status(); status != statusInterrupted {
		t.Errorf("exit status %d", status)
	}
	file := filepath.Join(t.TempDir(), "history.jsonl")
	if err := os.WriteFile(file, out.all.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	r := shmTool(t, "replay", "-speed", "1000", "-o", "jsonl", file)
	if r.status != 0 || r.stdout != out.all.String() {
		t.Errorf("replay: %+v, want %s", r, out.all.String())
	}
	for line := range strings.Lines(r.stdout) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	if r := shmTool(t, "replay", "-speed", "0", file); r.status != 0 || strings.Count(r.stdout, "\n") != 3 || !strings.Contains(r.stdout, `config: {"Limit":77`) {
		t.Errorf("replay as text: %+v", r)
	}
	if err := os.WriteFile(file, []byte(`{"schema":99}`), 0o666); err != nil {
		t.Fatal(err)
	}
	if r := shmTool(t, "replay", file); r.status != statusLayout {
		t.Errorf("a history of another schema: %+v", r)
	}
}

// TestRecordOfRareNumbers records NaN and the infinities: they have no rate.
func TestRecordOfRareNumbers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rare")
	s, err := shm.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	x, err := shm.NewValue(s, "x", 1.0)
	if err != nil {
		t.Fatal(err)
	}
	run := prepare(t, "record", "-i", "10ms", path)
	out := &screen{}
	run.Stdout = out
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		to   float64
		text string
	}{{1, `"value":1`}, {math.Inf(1), `"value":"+Inf"`}, {math.NaN(), `"value":"NaN"`}, {2, `"value":2`}, {3, `"rate":`}} {
		x.Store(step.to)
		eventually(t, step.text, func() bool { return out.has(step.text) })
	}
	if err := run.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if status := run.status(); status != statusInterrupted || run.stderr.String() != "" {
		t.Errorf("exit status %d, %s", status, &run.stderr)
	}
}

// TestReplayOfOtherFiles refuses what record has not written, and takes what it can write.
func TestReplayOfOtherFiles(t *testing.T) {
	seg := fixture(t)
	file := filepath.Join(t.TempDir(), "history.jsonl")
	shown := func(rest string) string {
		return `{"schema":1,"at":"2026-01-02T03:04:05Z","name":"x","value":` + rest + "}\n"
	}
	line := shown(`1,"dead":true`)
	for _, c := range []struct {
		text   string
		speed  string
		status int
		out    string
	}{
		{line, "1", 0, "03:04:05.000 x: 1, locked by a dead process\n"},
		{shown(`90000000000,"hint":"duration"`) + shown(`5242880,"unit":"bytes"`) + shown(`[1,2],"unit":"s"`) + shown(`3,"unit":"\u001b"`), "1", 0,
			"03:04:05.000 x: 1m30s\n03:04:05.000 x: 5.0 MiB\n03:04:05.000 x: [1,2] s\n03:04:05.000 x: 3 \"\\x1b\"\n"},
		{line + line[:40], "1", statusFailed, "03:04:05.000 x: 1, locked by a dead process\n"},
		{shmTool(t, "dump", seg).stdout, "1", statusFailed, ""},
		{`{"schema":1}`, "1", statusFailed, ""},
		{line, "NaN", statusUsage, ""},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o666); err != nil {
			t.Fatal(err)
		}
		if r := shmTool(t, "replay", "-speed", c.speed, file); r.status != c.status || r.stdout != c.out {
			t.Errorf("%.80s: %+v", c.text, r)
		}
	}
}
