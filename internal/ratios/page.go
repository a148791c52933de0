//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A page has prose, and blocks that a run writes:
//
//	<!-- NAME -->
//	written
//	<!-- /NAME -->
//
// A block that a run has nothing for stays as it is.

// rewrite replaces the blocks of a page.
func rewrite(path string, blocks map[string]string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	page, err := replaceBlocks(string(old), blocks)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(page), 0o666)
}

// replaceBlocks returns the page with other blocks. A block that the page does not
// have is an error: what was measured would be lost.
func replaceBlocks(page string, blocks map[string]string) (string, error) {
	for name, text := range blocks {
		begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
		before, rest, found := strings.Cut(page, begin)
		_, after, closed := strings.Cut(rest, end)
		if !found || !closed {
			return "", fmt.Errorf("no block %s … %s", strings.TrimSpace(begin), end)
		}
		page = before + begin + "\n" + strings.TrimSpace(text) + "\n\n" + end + after
	}
	return page, nil
}

// blocks returns what a report has for a page.
func (r *report) blocks() map[string]string {
	var short, long []result
	for _, res := range r.Results {
		if res.Long {
			long = append(long, res)
		} else {
			short = append(short, res)
		}
	}
	blocks := map[string]string{}
	add := func(name string, results []result) {
		if len(results) > 0 {
			blocks[name] = r.caption() + "\n\n" + tableOf(results, true).RenderMarkdown() + misses(results)
		}
	}
	add("ratios", short)
	add("long", long)
	if r.Table != "" {
		blocks["table"] = r.caption() + "\n\n" + indented(r.Table)
	}
	if len(r.Logs) > 0 {
		blocks["logs"] = r.caption() + "\n\n" + logTable(r.Logs)
	}
	return blocks
}

// caption says of what run a block is.
func (r *report) caption() string {
	m := r.Machine
	about := []string{m.CPU, digits(m.Cores) + " cores", m.Kernel, m.Go}
	for _, s := range []string{m.C, m.Python} {
		if s != "" {
			about = append(about, s)
		}
	}
	if m.Load != "" {
		about = append(about, "load average before the run "+m.Load)
	}
	text := fmt.Sprintf("`%s`, %s: %s.", r.Command, m.Date, strings.Join(about, ", "))
	if len(r.Missing) > 0 {
		text += " Missing: " + strings.Join(r.Missing, "; ") + "."
	}
	return text
}

// misses lists what does not reach its target, and why.
func misses(results []result) string {
	var b strings.Builder
	for _, r := range results {
		if r.met() {
			continue
		}
		if b.Len() == 0 {
			b.WriteString("\n\nTargets that are missed, and why:\n\n")
		}
		fmt.Fprintln(&b, strings.TrimSpace(fmt.Sprintf("- %s: %s, wanted %s. %s", code(r.Name), ratio(r.Ratio.Median), r.wanted(), r.Note)))
	}
	return b.String()
}

func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSpace(text)) {
		if strings.TrimSpace(line) != "" {
			b.WriteString("    ")
		}
		b.WriteString(line)
	}
	return b.String()
}

// shmBench returns the table of shm bench.
func shmBench() (string, error) {
	out, err := goTool("run", "./cmd/shm", "bench")
	return string(out), err
}

// goTool runs the go command and returns what it prints.
func goTool(args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%v: %w\n%s%s", cmd.Args, err, errs.String(), out.String())
	}
	return out.Bytes(), nil
}

// logged is what a test logged.
type logged struct {
	Test  string   `json:"test"`
	Lines []string `json:"lines"`
}

// logging is the tests that log figures.
var logging = regexp.MustCompile(`(?m)^func (Test(\w*Storm\w*|Hogs\w*|Many\w+Wait|AwaitingIsIdle|ProcessesShareTheLock))\(`)

// testLogs runs the tests that log figures, and returns what they log.
func testLogs(storm time.Duration) ([]logged, error) {
	var tests, packages []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, found := range logging.FindAllSubmatch(text, -1) {
			tests = append(tests, string(found[1]))
			packages = append(packages, "./"+filepath.Dir(path))
		}
		return nil
	})
	if err != nil || tests == nil {
		return nil, err
	}
	slices.Sort(packages)
	// go test wants the packages before a flag that it does not know.
	args := append([]string{"test"}, slices.Compact(packages)...)
	args = append(args, "-json", "-count=1", "-p=1", "-run", "^("+strings.Join(tests, "|")+")$", "-storm", storm.String())
	out, err := goTool(args...)
	if err != nil {
		return nil, err
	}
	return parseLogs(out)
}

// logLine is a line that a test logged, with the place behind it.
var logLine = regexp.MustCompile(`^\s+\w+\.go:\d+: (.*)\n$`)

// parseLogs reads the output of go test -json.
func parseLogs(out []byte) (all []logged, err error) {
	index := map[string]int{}
	for line := range bytes.Lines(out) {
		var event struct{ Action, Test, Output string }
		if err := json.Unmarshal(line, &event); err != nil {
			return nil, err
		}
		found := logLine.FindStringSubmatch(event.Output)
		if event.Action != "output" || event.Test == "" || found == nil {
			continue
		}
		i, known := index[event.Test]
		if !known {
			i = len(all)
			index[event.Test] = i
			all = append(all, logged{Test: event.Test})
		}
		all[i].Lines = append(all[i].Lines, found[1])
	}
	return all, nil
}
