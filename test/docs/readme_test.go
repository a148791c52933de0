package docs_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// unindented returns a text without leading tabs and runs of spaces, so that a part
// of a function can be compared.
func unindented(text string) string {
	text = regexp.MustCompile(`(?m)^\t+`).ReplaceAllString(text, "")
	return regexp.MustCompile(` +`).ReplaceAllString(text, " ")
}

// TestReadmeCode checks that all Go code in README.md is code that the tests run: a
// program of examples, or a part of an example.
func TestReadmeCode(t *testing.T) {
	examples := unindented(read(t, "example_test.go"))
	programs := map[string]string{} // text to path
	for _, name := range filesNamed(t, "/main.go") {
		if strings.HasPrefix(name, "examples/") {
			programs[read(t, name)] = name
		}
	}
	blocks := regexp.MustCompile("(?s)([^\n]*)\n\n```go\n(.*?)```\n").FindAllStringSubmatch(read(t, "README.md"), -1)
	shown := map[string]bool{}
	for _, m := range blocks {
		title, code := m[1], m[2]
		if name, ok := programs[code]; ok {
			shown[name] = true
			if title != fmt.Sprintf("`%s`:", name) {
				t.Errorf("%s has the title %q", name, title)
			}
		} else if !strings.Contains(examples, unindented(code)) {
			t.Errorf("code that is neither a program nor a part of an example:\n%s", code)
		}
	}
	for _, name := range []string{"examples/counter/writer/main.go", "examples/counter/reader/main.go"} {
		if !shown[name] {
			t.Errorf("README.md does not show %s", name)
		}
	}
}

// TestReadmePrograms runs the two programs as a reader of README.md does.
func TestReadmePrograms(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there are no segments on this system")
	}
	name := shmtest.Name(t) // It is removed if the reader did not remove it.
	var out, complaints bytes.Buffer
	writer := shmtest.GoProgram(t, module+"/examples/counter/writer")
	reader := exec.Command(shmtest.GoProgram(t, module+"/examples/counter/reader"), "-name", name)
	reader.Stdout, reader.Stderr = &out, &complaints
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { _ = reader.Process.Kill() })
	defer late.Stop()
	if out, err := exec.Command(writer, "-name", name).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("writer: %v\n%s", err, out)
	}
	if err := reader.Wait(); err != nil || out.String() != "1000 hits\n" {
		t.Errorf("reader: %v, %q\n%s", err, &out, &complaints)
	}
	if _, err := os.Stat(shm.Path(name)); !os.IsNotExist(err) {
		t.Errorf("the segment still exists: %v", err)
	}
}

// anchor returns the fragment by which a link refers to a heading.
func anchor(heading string) string {
	heading = regexp.MustCompile(`\]\([^)]*\)`).ReplaceAllString(heading, "]")
	heading = regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(heading, " ", "-")
}

// TestDocumentLinks checks that every file and heading exists that a document links
// to, and every picture that it shows.
func TestDocumentLinks(t *testing.T) {
	links := 0
	for _, doc := range filesNamed(t, ".md") {
		prose := regexp.MustCompile("(?s)```.*?```|`[^`\n]*`").ReplaceAllString(read(t, doc), "")
		for _, m := range regexp.MustCompile(`\]\(([^)]+)\)|(?:src|srcset|href)="([^"]+)"`).FindAllStringSubmatch(prose, -1) {
			name, section, _ := strings.Cut(m[1]+m[2], "#")
			if strings.Contains(name, "://") {
				continue
			}
			links++
			target := doc
			if name != "" {
				target = path.Join(path.Dir(doc), name)
			}
			if _, err := os.Stat(filepath.Join(shmtest.Root(t), target)); err != nil {
				t.Errorf("%s: %v", doc, err)
				continue
			}
			if section == "" {
				continue
			}
			text := regexp.MustCompile("(?s)```.*?```").ReplaceAllString(read(t, target), "")
			if !slices.ContainsFunc(regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1), func(h []string) bool { return anchor(h[1]) == section }) {
				t.Errorf("%s: %s has no section %q", doc, target, section)
			}
		}
	}
	if links < 50 {
		t.Errorf("only %d links were found", links)
	}
}

// TestBenchmarksAreDocumented checks that docs/BENCHMARKS.md has all benchmarks of
// the library, and that the documents have no others.
func TestBenchmarksAreDocumented(t *testing.T) {
	exist := map[string]bool{}
	for _, source := range filesNamed(t, "_test.go", "cmd", "examples") {
		for _, m := range regexp.MustCompile(`(?m)^func Benchmark(\w+)\(`).FindAllStringSubmatch(read(t, source), -1) {
			exist[m[1]] = true
		}
	}
	_, rows, _ := strings.Cut(read(t, "docs/BENCHMARKS.md"), "| benchmark |")
	rows, _, _ = strings.Cut(rows, "\n\n")
	told := map[string]bool{}
	for row := range strings.Lines(rows) {
		first, _, _ := strings.Cut(strings.TrimPrefix(row, "|"), "|")
		for _, m := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(first, -1) {
			told[m[1]] = true
		}
	}
	for name := range exist {
		if !told[name] {
			t.Errorf("docs/BENCHMARKS.md does not have Benchmark%s", name)
		}
	}
	_, figures, _ := strings.Cut(read(t, "README.md"), "<!-- figures -->")
	for _, m := range regexp.MustCompile("(?m)\\| `(\\w+)[^`]*` \\|$").FindAllStringSubmatch(figures, -1) {
		told[m[1]] = true
	}
	for name := range told {
		if !exist[name] {
			t.Errorf("the documents have Benchmark%s, which does not exist", name)
		}
	}
}
