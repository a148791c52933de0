package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"example.org/shm"
)

// inJSON runs the tool and decodes the list that it prints.
func inJSON[T any](t *testing.T, list string, args ...string) []T {
	t.Helper()
	args = slices.Insert(args, 1, "-o", "json")
	r := shmTool(t, args...)
	if r.status != 0 {
		t.Fatalf("shm %q: %+v", args, r)
	}
	doc := map[string]json.RawMessage{}
	var rows []T
	if err := json.Unmarshal([]byte(r.stdout), &doc); err != nil {
		t.Fatalf("%v\n%s", err, r.stdout)
	}
	if err := json.Unmarshal(doc[list], &rows); err != nil {
		t.Fatalf("%v\n%s", err, r.stdout)
	}
	return rows
}

// TestStory is the story of docs/operating.md: a program is stopped in the middle of an
// Update. The tool finds it. The operator lets it go on, or kills it, and the value goes on.
func TestStory(t *testing.T) {
	for _, kill := range []bool{false, true} {
		seg := fixture(t)
		p := start(t, "hold", seg)
		p.signal(t, syscall.SIGSTOP)
		var l lockData
		eventually(t, "the tool sees that the holder is stopped", func() bool {
			locks := inJSON[lockData](t, "locks", "locks", "-i", "1ms", seg)
			if len(locks) != 1 {
				t.Fatalf("locks %+v", locks)
			}
			l = locks[0]
			return l.State == "stopped"
		})
		if l.Name != "config" || l.Pid != p.Process.Pid || !l.Held {
			t.Errorf("the lock is %+v, the holder is %d", l, p.Process.Pid)
		}
		ps := inJSON[processData](t, "processes", "ps", seg)
		if len(ps) != 1 || ps[0].Pid != p.Process.Pid || ps[0].State != "stopped" || !slices.Equal(ps[0].Holds, []string{"config"}) || ps[0].ReadOnly {
			t.Errorf("the processes are %+v", ps)
		}
		// A reader does not wait, and sees the last commit.
		if r := shmTool(t, "get", seg, "config.Limit"); r.stdout != "8\n" || r.status != 0 {
			t.Errorf("get: %+v", r)
		}
		// A writer waits, gives up, and says for whom it waited.
		r := shmTool(t, "set", "-timeout", "50ms", seg, "config.Limit=1")
		if r.status != statusLocked || !strings.Contains(r.stderr, "stopped") || !strings.Contains(r.stderr, "config") {
			t.Errorf("set: %+v", r)
		}
		if r := shmTool(t, "rm", seg); r.status != statusLocked || !exists(seg) {
			t.Errorf("rm of a segment in use: %+v", r)
		}
		want := "config.Limit: 8 -> 20\n"
		if kill {
			p.signal(t, syscall.SIGKILL)
			_ = p.Wait()
			locks := inJSON[lockData](t, "locks", "locks", "-i", "1ms", seg)
			if len(locks) != 1 || locks[0].State != "dead" {
				t.Errorf("after the kill the locks are %+v", locks)
			}
			if ps := inJSON[processData](t, "processes", "ps", seg); len(ps) != 1 || ps[0].State != "dead" || ps[0].Pid != 0 {
				t.Errorf("after the kill the processes are %+v", ps)
			}
		} else {
			want = "config.Limit: 9 -> 20\n"
			p.signal(t, syscall.SIGCONT)
			if err := p.stdin.Close(); err != nil {
				t.Fatal(err)
			}
			p.expect(t, "released")
			if err := p.Wait(); err != nil {
				t.Error(err)
			}
		}
		if r := shmTool(t, "set", seg, "config.Limit=20"); r.status != 0 || r.stdout != want {
			t.Errorf("kill %v: set: %+v, want %q", kill, r, want)
		}
		locks := inJSON[lockData](t, "locks", "locks", "-a", "-i", "1ms", seg)
		i := slices.IndexFunc(locks, func(l lockData) bool { return l.Name == "config" })
		if l := locks[i]; l.Held || l.Abandoned != kill || (l.Takeovers == 1) != kill {
			t.Errorf("kill %v: in the end the lock is %+v", kill, l)
		}
		if r := shmTool(t, "rm", seg); r.status != 0 || exists(seg) {
			t.Errorf("rm of a segment that nobody uses: %+v", r)
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// TestLooksDisturbNobody checks that the commands that look leave every byte of a segment
// as it is.
func TestLooksDisturbNobody(t *testing.T) {
	seg := fixture(t)
	before, err := os.ReadFile(seg)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(seg, 0o400); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"ls", seg}, {"get", seg, "config"}, {"locks", "-a", "-i", "1ms", seg}, {"ps", seg}, {"check", "-quick", seg}, {"dump", seg}, {"diff", seg, seg}, {"rm", "-n", seg}} {
		if r := shmTool(t, args...); r.status != 0 || r.stderr != "" {
			t.Errorf("shm %q: %+v", args, r)
		}
	}
	after, err := os.ReadFile(seg)
	if err != nil || string(before) != string(after) {
		t.Errorf("a byte has changed: %v", err)
	}
}

// TestStatuses checks the exit statuses of segments that cannot be shown, for each
// command that takes one.
func TestStatuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	sound, err := os.ReadFile(fixture(t))
	if err != nil {
		t.Fatal(err)
	}
	version := slices.Clone(sound)
	version[8]++
	record := slices.Clone(sound)
	record[strings.Index(string(sound), "samples")]++
	cut := write("cut", sound[:100])
	sparse := write("sparse", sound)
	if err := os.Truncate(sparse, 1<<40); err != nil {
		t.Fatal(err)
	}
	commands := [][]string{{"ls"}, {"get", "x"}, {"locks"}, {"ps"}, {"check"}, {"dump"}, {"diff", "x"}, {"set", "x=1"}, {"add", "x", "1"}, {"wait", "x"}, {"rm"}}
	for _, c := range []struct {
		path   string
		status int
	}{
		{filepath.Join(dir, "nothing"), statusAbsent},
		{write("text", []byte(strings.Repeat("no segment\n", 1000))), statusDamaged},
		{write("empty", nil), statusDamaged},
		{cut, statusDamaged},
		{write("version", version), statusLayout},
	} {
		for _, command := range commands {
			args := slices.Insert(slices.Clone(command), 1, c.path)
			if command[0] == "diff" {
				args[2] = c.path
			}
			r := shmTool(t, args...)
			if command[0] == "diff" && c.status != statusAbsent && strings.HasSuffix(c.path, "text") {
				continue // neither a segment nor a dump
			}
			if r.status != c.status {
				t.Errorf("shm %q: exit status %d, want %d; %s", args, r.status, c.status, r.stderr)
			}
		}
	}
	// What precedes the damage is shown, and that there is damage.
	damaged := write("record", record)
	if r := shmTool(t, "ls", damaged); r.status != statusDamaged || !strings.Contains(r.stdout, "config") || strings.Contains(r.stdout, "lots") || r.stderr == "" {
		t.Errorf("ls of a damaged directory: %+v", r)
	}
	if r := shmTool(t, "check", damaged); r.status != statusDamaged || !strings.Contains(r.stdout, "record at byte") {
		t.Errorf("check of a damaged directory: %+v", r)
	}
	// It is not sound, and so not removed unasked.
	url, _ := served(t, damaged)
	if a := get(t, "GET", url+"healthz"); a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, `"kind":"damaged"`) {
		t.Errorf("healthz of a damaged directory: %d %s", a.StatusCode, a.body)
	}
	shared := shm.Path(fmt.Sprintf("shmtest-damaged-%d", os.Getpid()))
	if err := os.WriteFile(shared, record, 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(shared)
	if r := shmTool(t, "rm", "-unused", "-n", "-o", "jsonl"); r.status != 0 || !regexp.MustCompile(`"segment":"`+filepath.Base(shared)+`"[^\n]*"result":"kept: `).MatchString(r.stdout) {
		t.Errorf("rm -unused of a damaged directory: %+v", r)
	}
	// A file may claim more than any machine has.
	if r := shmTool(t, "ls", sparse); r.status != 0 || !strings.Contains(r.stdout, "samples") {
		t.Errorf("ls of a sparse file: %+v", r)
	}
	if r := shmTool(t, "get", "-o", "json", filepath.Join(dir, "nothing"), "x"); !json.Valid([]byte(r.stderr)) || !strings.Contains(r.stderr, `"absent"`) {
		t.Errorf("an error in JSON: %q", r.stderr)
	}
	r := prepare(t, "wait", fixture(t), "requests", "false")
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the tool runs", func() bool { return len(r.processes()) > 0 })
	if err := r.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if status := r.status(); status != statusInterrupted && status != -1 { // -1: it came before main
		t.Errorf("interrupted: exit status %d", status)
	}
}

// TestSegmentsList checks the list of all segments, which has those of other programs as
// well.
func TestSegmentsList(t *testing.T) {
	name := "shm-tool-test-" + filepath.Base(filepath.Dir(fixture(t)))
	path := "/dev/shm/" + strings.ReplaceAll(name, "/", "-")
	t.Cleanup(func() { _ = os.Remove(path) })
	p := start(t, "attach", path)
	find := func() segmentRow {
		for _, row := range inJSONOf[segmentRow](t, "segments") {
			if row.Path == path {
				return row
			}
		}
		t.Fatalf("%s is not listed", path)
		return segmentRow{}
	}
	if row := find(); row.Values != 12 || !slices.Equal(row.Processes, []int{p.Process.Pid}) || !row.Leased || row.State != "in use" || row.Mode != "-rw-------" {
		t.Errorf("in use: %+v", row)
	}
	p.signal(t, syscall.SIGKILL)
	_ = p.Wait()
	if row := find(); len(row.Processes) > 0 || row.Leased || row.State != "nobody attached" {
		t.Errorf("after a kill: %+v", row)
	}
	if r := shmTool(t, "rm", filepath.Base(path)); r.status != 0 || exists(path) {
		t.Errorf("rm: %+v", r)
	}
}

// inJSONOf is inJSON of the command without a name.
func inJSONOf[T any](t *testing.T, list string) []T {
	t.Helper()
	r := shmTool(t, "-o", "json")
	doc := map[string]json.RawMessage{}
	var rows []T
	if err := json.Unmarshal([]byte(r.stdout), &doc); err != nil || r.status != 0 {
		t.Fatalf("%v %+v", err, r)
	}
	if err := json.Unmarshal(doc[list], &rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestManyLocks looks at one of many locks under one name, which this very process holds.
func TestManyLocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "places")
	s, err := shm.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	places, err := shm.NewMutexes(s, "places", 3)
	if err != nil {
		t.Fatal(err)
	}
	places.At(1).Lock()
	defer places.At(1).Unlock()
	locks := inJSON[lockData](t, "locks", "locks", "-i", "1ms", path)
	if len(locks) != 1 || locks[0].Name != "places[1]" || locks[0].Pid != os.Getpid() || locks[0].State != "running" {
		t.Errorf("the locks are %+v", locks)
	}
	ps := inJSON[processData](t, "processes", "ps", path)
	if len(ps) != 1 || ps[0].Pid != os.Getpid() || !slices.Equal(ps[0].Holds, []string{"places[1]"}) {
		t.Errorf("the processes are %+v", ps)
	}
}

// TestLoadLeavesRings loads a dump into a segment with a value that cannot be set.
func TestLoadLeavesRings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rings")
	s, err := shm.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ring, err := shm.NewRing[int32](s, "ring", 4)
	if err != nil {
		t.Fatal(err)
	}
	n, err := shm.NewAtomic(s, "n", int64(1))
	if err != nil {
		t.Fatal(err)
	}
	dump := path + ".json"
	if err := os.WriteFile(dump, []byte(shmTool(t, "dump", path).stdout), 0o666); err != nil {
		t.Fatal(err)
	}
	ring.Append(7)
	n.Store(2)
	if r := shmTool(t, "load", path, dump); r.status != 0 || !strings.Contains(r.stdout, "ring differs and is left alone") || n.Load() != 1 {
		t.Errorf("%+v; n is %d", r, n.Load())
	}
}
