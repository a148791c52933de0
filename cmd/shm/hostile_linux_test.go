package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/creack/pty"
)

// looking has the commands that look at a segment, without its name, which comes second.
var looking = [][]string{{"ls"}, {"get", "config"}, {"locks", "-i", "1ms"}, {"ps"}, {"check", "-quick"}, {"dump"}, {"watch", "-n", "1", "-i", "10ms"}, {"record", "-n", "1"}, {"gen", "go"}, {"rm", "-n"}}

// on returns the arguments of a command with the name of a segment.
func on(command []string, segment string) []string {
	switch command[0] {
	case "get":
		return slices.Insert(slices.Clone(command), 1, segment)
	}
	return append(slices.Clone(command), segment)
}

// limitedTool runs the tool for at most a minute, and checks that it has not crashed and
// prints nothing that a terminal would obey.
func limitedTool(t *testing.T, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var stdout, stderr strings.Builder
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run()
	r := result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	switch {
	case ctx.Err() != nil:
		t.Errorf("shm %q hangs", args)
	case r.status < 0 || r.status == statusUsage || strings.Contains(r.stderr, "goroutine "):
		t.Errorf("shm %q crashes: %+v", args, r)
	}
	for _, text := range []string{r.stdout, r.stderr} {
		if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("shm %q prints %q", args, text[i:min(i+20, len(text))])
		}
	}
	const most = 300 << 10 // KiB; much of it is what each process of Go takes
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok && usage.Maxrss > most {
		t.Errorf("shm %q takes %d KiB", args, usage.Maxrss)
	}
	return r
}

// TestFilesThatAreNoSegments gives each command files of all kinds. None hangs, and each
// says what is wrong.
func TestFilesThatAreNoSegments(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	if err := syscall.Mkfifo(file("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := net.Listen("unix", file("socket")); err == nil {
		defer l.Close()
	}
	if err := os.Symlink(fixture(t), file("link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file("\x1b[2Jhostile"), []byte(strings.Repeat("\x1b]0;owned\x07", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file("fifo"), file("socket"), file("link"), file("\x1b[2Jhostile"), dir, "/dev/zero", "/dev/null", "/proc/self/mem", "/proc/kmsg"} {
		for _, command := range append(looking, []string{"set", "-timeout", "1s"}, []string{"wait", "-timeout", "1s"}) {
			args := on(command, path)
			switch command[0] {
			case "set":
				args = append(args, "config.Limit=1")
			case "wait":
				args = append(args, "config")
			}
			if r := limitedTool(t, args...); r.status == 0 || r.stderr == "" && command[0] != "check" && command[0] != "rm" {
				t.Errorf("shm %q: %+v", args, r)
			}
		}
	}
}

// TestSegmentThatChangesWhileItIsRead writes random bytes to a segment while commands read
// it. What they print is of no use, but none crashes or takes much memory.
func TestSegmentThatChangesWhileItIsRead(t *testing.T) {
	seg := fixture(t)
	sound, err := os.ReadFile(seg)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(seg, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		rnd := rand.New(rand.NewPCG(1, 2))
		for {
			select {
			case <-stop:
				return
			default:
			}
			at := rnd.IntN(len(sound))
			_, _ = f.WriteAt([]byte{byte(rnd.Uint32())}, int64(at))
			if rnd.IntN(4) > 0 { // so that it is readable now and then
				_, _ = f.WriteAt(sound, 0)
			}
			time.Sleep(100 * time.Microsecond)
		}
	}()
	for range 3 {
		for _, command := range looking {
			limitedTool(t, on(command, seg)...)
		}
	}
	close(stop)
	<-stopped
}

// TestWatchOfWhatVanishes watches a segment whose file is removed, replaced or cut off.
func TestWatchOfWhatVanishes(t *testing.T) {
	for what, c := range map[string]struct {
		change func(seg string) error
		status int
		says   string
	}{
		"removed":  {os.Remove, statusAbsent, "no file"},
		"replaced": {func(seg string) error { return os.Rename(fixture(t), seg) }, statusAbsent, "another file"},
		"cut off":  {func(seg string) error { return os.Truncate(seg, 100) }, statusDamaged, "cut off"},
	} {
		seg := fixture(t)
		r := prepare(t, "watch", "-i", "10ms", "-o", "text", seg)
		out := &screen{}
		r.Stdout = out
		if err := r.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the first look", func() bool { return out.has("requests") })
		if err := c.change(seg); err != nil {
			t.Fatal(err)
		}
		if status := r.status(); status != c.status || !strings.Contains(r.stderr.String(), c.says) {
			t.Errorf("%s: exit status %d, %q", what, status, &r.stderr)
		}
	}
}

// TestSparseFile looks at a file that claims to have 1 TiB.
func TestSparseFile(t *testing.T) {
	seg := fixture(t)
	if err := os.Truncate(seg, 1<<40); err != nil {
		t.Skip(err)
	}
	for _, command := range looking {
		if r := limitedTool(t, on(command, seg)...); r.status != 0 {
			t.Errorf("shm %q: %+v", command, r)
		}
	}
}

// forOtherUsers returns a copy of the tool and a segment in a directory that all users may enter.
func forOtherUsers(t *testing.T) (program, seg string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "shm-tool-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program, seg = filepath.Join(dir, "shm"), filepath.Join(dir, "board")
	copied(t, tool, program)
	if err := os.Rename(fixture(t), seg); err != nil {
		t.Skip(err) // another filesystem
	}
	if err := errorsOf(os.Chmod(dir, 0o755), os.Chmod(program, 0o755)); err != nil {
		t.Fatal(err)
	}
	return program, seg
}

// TestOtherUser looks at a segment as a user who may not read it, as one who may, and as
// root at that of another user.
func TestOtherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	const nobody = 65534
	program, seg := forOtherUsers(t)
	as := func(mode os.FileMode, owner int) {
		if err := errorsOf(os.Chmod(seg, mode), os.Chown(seg, owner, -1)); err != nil {
			t.Fatal(err)
		}
	}
	run := func(uid uint32, args ...string) result {
		cmd := exec.Command(program, args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		var stdout, stderr strings.Builder
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		_ = cmd.Run()
		return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	}
	as(0o600, 0)
	if r := run(nobody, "ls", seg); r.status != statusFailed || !strings.Contains(r.stderr, "permission denied") {
		t.Errorf("a segment that it may not read: %+v", r)
	}
	as(0o644, 0)
	if r := run(nobody, "get", seg, "config.Limit"); r.status != 0 || r.stdout != "8\n" {
		t.Errorf("a segment that it may read: %+v", r)
	}
	if r := run(nobody, "set", seg, "config.Limit=1"); r.status != statusFailed || r.stderr == "" {
		t.Errorf("a segment that it may not write: %+v", r)
	}
	secret := fmt.Sprintf("shmtest-tool-%d", os.Getpid())
	if err := os.WriteFile("/dev/shm/"+secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove("/dev/shm/" + secret)
	for _, args := range [][]string{nil, {"ps"}, {"locks"}} {
		if r := run(nobody, args...); r.status != 0 || !strings.Contains(r.stdout+r.stderr, "cannot be read by this user") {
			t.Errorf("shm %q hides files that it may not read: %+v", args, r)
		}
	}
	as(0o600, nobody)
	for _, command := range looking {
		if r := run(0, on(command, seg)...); r.status != 0 {
			t.Errorf("root: shm %q: %+v", command, r)
		}
	}
}

// Where /proc does not list the processes of other users, rm keeps what they may have mapped.
func TestRemovalWhereProcessesAreHidden(t *testing.T) {
	program, seg := forOtherUsers(t)
	if err := errorsOf(os.Chmod(seg, 0o666), os.Chown(seg, 65534, -1)); err != nil {
		t.Skip("needs root: ", err)
	}
	f, err := os.Open(seg)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mapped, err := syscall.Mmap(int(f.Fd()), 0, 4096, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Munmap(mapped) }()
	const script = `mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"`
	run := func(args ...string) (string, int) {
		cmd := exec.Command("sh", append([]string{"-c", script, "sh"}, args...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Skip("no mount namespace: ", err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, status := run("true"); status != 0 {
		t.Skipf("/proc cannot hide processes here: %s", out)
	}
	if out, status := run(program, "rm", "-n", seg); status != statusLocked || !strings.Contains(out, "may not see all processes") {
		t.Errorf("exit status %d, %s", status, out)
	}
}

func errorsOf(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestInterrupted presses Ctrl-C while commands wait.
func TestInterrupted(t *testing.T) {
	seg := fixture(t)
	start(t, "guard", seg)
	history := filepath.Join(t.TempDir(), "history.jsonl")
	lines := `{"schema":1,"at":"2026-01-02T03:04:05Z","name":"requests","value":1}
{"schema":1,"at":"2026-01-02T04:04:05Z","name":"requests","value":2}
`
	if err := os.WriteFile(history, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(t.TempDir(), "pipe") // that nobody writes
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ready string // what it prints first
		args  []string
	}{
		{"requests", []string{"watch", "-o", "text", seg}},
		{"requests", []string{"record", seg}},
		{"requests", []string{"replay", history}},
		{"lock", []string{"locks", "-follow", seg}},
		{"", []string{"wait", seg, "load", "load > 1e9"}},
		{"", []string{"set", "-timeout", "0", seg, "config.Limit=1"}},
		{"", []string{"replay"}},
		{"", []string{"replay", pipe}},
		{"", []string{"load", seg}},
	} {
		r := prepare(t, c.args...)
		out := &screen{}
		r.Stdout = out
		stdin, err := r.StdinPipe() // which stays open
		if err != nil {
			t.Fatal(err)
		}
		if c.args[0] == "set" {
			holder := start(t, "hold", seg)
			defer holder.stdin.Close()
		}
		if err := r.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the tool works", func() bool {
			if c.ready == "" {
				return sleeps(r.Process.Pid)
			}
			return out.has(c.ready)
		})
		if err := r.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		stuck := time.AfterFunc(time.Minute, func() { _ = r.Process.Kill() })
		if status := r.status(); status != statusInterrupted || r.stderr.Len() > 0 {
			t.Errorf("shm %q: exit status %d, %q", c.args, status, &r.stderr)
		}
		stuck.Stop()
		_ = stdin.Close()
	}
}

// sleeps reports whether a process has handled its start: it has waited for a while without
// taking time of a processor.
func sleeps(pid int) bool {
	used := func() string {
		b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		_, after, _ := strings.Cut(string(b), ") ")
		fields := strings.Fields(after)
		if len(fields) < 13 || fields[0] != "S" {
			return "runs " + time.Now().String()
		}
		return fields[11] + " " + fields[12]
	}
	before := used()
	time.Sleep(300 * time.Millisecond)
	return before == used() && before != "0 0"
}

// TestBrokenPipe ends the reader of a long output.
func TestBrokenPipe(t *testing.T) {
	seg := fixture(t)
	out, err := exec.Command("sh", "-c", `{ "$0" watch -i 10ms -n 3 -o jsonl "$1"; "$0" ls -o json "$1"; "$0" ls "$1"; } | head -n 1`, tool, seg).CombinedOutput()
	if err != nil || strings.Count(string(out), "\n") != 1 {
		t.Errorf("%v %q", err, out)
	}
}

// What cannot be written is an error, of the help too.
func TestFullDisk(t *testing.T) {
	seg := fixture(t)
	for _, args := range [][]string{
		{"-h"}, {"ls", "-h"}, {"man"}, {"completion", "bash"}, {"-o", "json"}, {"ls", seg}, {"get", seg, "version"}, {"dump", seg},
		{"set", seg, "config.Limit=9"}, {"check", "-quick", seg}, {"gen", "c", seg}, {"record", "-n", "1", seg},
	} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Skip("this system has no /dev/full: ", err)
		}
		cmd := exec.Command(tool, args...)
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = full, &stderr
		_ = cmd.Run()
		_ = full.Close()
		if status := cmd.ProcessState.ExitCode(); status != statusFailed || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("%q: exit status %d, %q", args, status, &stderr)
		}
	}
}

// TestColour shows colours on a terminal alone, and not with NO_COLOR.
func TestColour(t *testing.T) {
	seg := fixture(t)
	p := start(t, "hold", seg)
	p.signal(t, syscall.SIGKILL)
	_ = p.Wait()
	for _, c := range []struct {
		environment string
		want        bool
	}{{"TERM=xterm-256color", true}, {"NO_COLOR=1", false}, {"TERM=dumb", false}} {
		cmd := exec.Command(tool, "locks", "-i", "1ms", seg)
		cmd.Env = append(os.Environ(), "NO_COLOR=", "TERM=xterm", c.environment)
		terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 200})
		if err != nil {
			t.Fatal(err)
		}
		out, _ := io.ReadAll(terminal) // EIO at the end
		_ = cmd.Wait()
		_ = terminal.Close()
		if !strings.Contains(string(out), "dead") || strings.Contains(string(out), "\x1b[31m") != c.want {
			t.Errorf("%s: %q", c.environment, out)
		}
	}
	if r := shmTool(t, "locks", "-i", "1ms", seg); strings.Contains(r.stdout, "\x1b") || !strings.Contains(r.stdout, "dead") {
		t.Errorf("without a terminal: %q", r.stdout)
	}
}
