package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// pageFile is the story that TestOperatingPage runs.
const pageFile = "../../docs/operating.md"

// segmentOnPage and pidOnPage are what the page calls the segment and the process of the
// story.
const (
	segmentOnPage = "board"
	pidOnPage     = "21394"
)

// story is a run of the commands on the page.
type story struct {
	t        *testing.T
	dir      string // with the programs, and the working directory of the commands
	segment  string // as long as the name on the page
	worker   *program
	finished bool // the worker has ended
	changed  bool // another worker has changed values, by numbers that differ between runs
}

// TestOperatingPage runs each command of docs/operating.md that begins with $, but those of
// the server, in order, and compares what it prints with the page. Numbers that differ between runs may differ.
// With -update it writes what the commands print to the page.
func TestOperatingPage(t *testing.T) {
	s := &story{t: t, dir: t.TempDir(), segment: fmt.Sprintf("b%04d", rand.IntN(10000))}
	t.Cleanup(func() { _ = os.Remove("/dev/shm/" + s.segment) })
	if err := os.Symlink(tool, filepath.Join(s.dir, "shm")); err != nil {
		t.Fatal(err)
	}
	copied(t, os.Args[0], filepath.Join(s.dir, "worker"))
	s.run("worker", "make")
	s.worker = s.startWorker("hold")
	s.worker.signal(t, syscall.SIGSTOP)
	eventually(t, "the worker is stopped", func() bool {
		return strings.Contains(shmTool(t, "locks", "-i", "1ms", s.segment).stdout, "stopped")
	})

	page, err := os.ReadFile(pageFile)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(page), "\n")
	var written []string
	ran := 0
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		written = append(written, line)
		command, is := strings.CutPrefix(line, "    $ ")
		if !is || strings.Contains(command, "shm serve") || strings.HasPrefix(command, "curl") { // these have tests of their own
			continue
		}
		ran++
		var want []string
		for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "    ") && !strings.HasPrefix(lines[i+1], "    $ ") {
			i++
			want = append(want, strings.TrimPrefix(lines[i], "    "))
		}
		got := s.output(command)
		if *update {
			for _, line := range got {
				written = append(written, strings.TrimRight("    "+line, " "))
			}
			continue
		}
		if a, b := s.comparable(command, got), s.comparable(command, want); a != b {
			t.Errorf("$ %s prints\n%s\n\nand on the page is\n%s", command, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if ran < 10 {
		t.Errorf("the page has only %d commands", ran)
	}
	if *update {
		if err := os.WriteFile(pageFile, []byte(strings.Join(written, "\n")), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// copied copies a program, since the name of its file is what a segment says of it.
func copied(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// environment makes a command find the tool, and a program be the role of a worker.
func (s *story) environment(role string) []string {
	return append(os.Environ(), "PATH="+s.dir+":"+os.Getenv("PATH"), "NO_COLOR=1", roleVariable+"="+role+" "+s.segment)
}

// run runs a role of the worker to its end.
func (s *story) run(name, role string) {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(s.dir, name), "-test.run=^$")
	cmd.Env = s.environment(role)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", role, err, out)
	}
}

func (s *story) startWorker(role string) *program {
	s.t.Helper()
	return startProgram(s.t, filepath.Join(s.dir, "worker"), s.environment(role))
}

// output runs a command of the page, and returns what it prints.
func (s *story) output(command string) []string {
	s.t.Helper()
	pid := strconv.Itoa(s.worker.Process.Pid)
	if strings.HasPrefix(command, "kill ") && !s.finished {
		s.worker.signal(s.t, syscall.SIGKILL)
		_ = s.worker.Wait()
		s.finished = true
		return nil
	}
	if strings.Contains(command, "shm watch") {
		busy := s.startWorker("busy")
		s.changed = true
		defer func() {
			_ = busy.Process.Kill()
			_ = busy.Wait()
		}()
	}
	words := regexp.MustCompile(`\b`+segmentOnPage+`\b(\.?)`).ReplaceAllStringFunc(command, func(word string) string {
		return strings.Replace(word, segmentOnPage, s.segment, 1)
	})
	cmd := exec.Command("sh", "-c", words)
	cmd.Dir = s.dir
	cmd.Env = s.environment("")
	out, _ := cmd.CombinedOutput() // the exit status is that of other tests
	var lines []string
	for line := range strings.Lines(string(out)) {
		ours := strings.HasPrefix(line, s.segment)
		line = strings.TrimSuffix(strings.ReplaceAll(strings.ReplaceAll(line, s.segment, segmentOnPage), pid, pidOnPage), "\n")
		switch {
		case strings.HasPrefix(line, "this user may not see"), strings.HasPrefix(line, "shm: this user may not see"):
		case (command == "shm" || strings.Contains(command, "-unused")) && !ours && len(lines) >= 2: // others' segments
		default:
			lines = append(lines, line)
		}
	}
	return lines
}

// comparable returns lines without what differs between runs.
func (s *story) comparable(command string, lines []string) string {
	var all []string
	for _, line := range lines {
		if strings.Contains(line, "not compared with") || strings.Contains(line, "Go and ") {
			continue // the machine may lack python3 or gcc
		}
		line = regexp.MustCompile(`\b\d+(\.\d+)?(ms|s)\b`).ReplaceAllString(line, "TIME")
		line = regexp.MustCompile(`[ ─]+`).ReplaceAllString(line, " ")
		line = strings.ReplaceAll(line, userName(uint32(os.Getuid())), "USER")
		line = strings.ReplaceAll(line, "root", "USER")
		if s.changed || strings.Contains(command, "shm ps") {
			line = regexp.MustCompile(`[+-]?\d+(\.\d+)?(e\+\d+)?`).ReplaceAllString(line, "N")
		}
		all = append(all, strings.TrimSpace(line))
	}
	return strings.Join(all, "\n")
}
