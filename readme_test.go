package shm_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.org/shm"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// unindented returns a text without leading tabs and runs of spaces, so that a
// part of a function can be compared.
func unindented(text string) string {
	text = regexp.MustCompile(`(?m)^\t+`).ReplaceAllString(text, "")
	return regexp.MustCompile(` +`).ReplaceAllString(text, " ")
}

// TestReadmeCode wants all Go in README.md to be code that the tests run: a
// program of examples, or a part of an example.
func TestReadmeCode(t *testing.T) {
	examples := unindented(read(t, "example_test.go"))
	programs := map[string]string{} // text to path
	err := filepath.WalkDir("examples", func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Base(path) == "main.go" {
			programs[read(t, path)] = filepath.ToSlash(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)([^\n]*)\n\n```go\n(.*?)```\n").FindAllStringSubmatch(read(t, "README.md"), -1)
	shown := map[string]bool{}
	for _, m := range blocks {
		title, code := m[1], m[2]
		if path, ok := programs[code]; ok {
			shown[path] = true
			if title != fmt.Sprintf("`%s`:", path) {
				t.Errorf("%s is under the title %q", path, title)
			}
		} else if !strings.Contains(examples, unindented(code)) {
			t.Errorf("code that is neither a program nor a part of an example:\n%s", code)
		}
	}
	for _, path := range []string{"examples/counter/writer/main.go", "examples/counter/reader/main.go"} {
		if !shown[path] {
			t.Errorf("README.md does not show %s", path)
		}
	}
}

// TestReadmePrograms runs the two programs as a reader of README.md would.
func TestReadmePrograms(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there are no segments here")
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skipf("this test needs the go command: %v", err)
	}
	dir := t.TempDir()
	build := exec.Command(goTool, "build", "-o", dir+string(filepath.Separator), "./examples/counter/...")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	name := exampleName("readme")
	defer shm.Remove(name) // if the reader did not
	var out, complaints bytes.Buffer
	reader := exec.Command(filepath.Join(dir, "reader"), "-name", name)
	reader.Stdout, reader.Stderr = &out, &complaints
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { _ = reader.Process.Kill() })
	defer late.Stop()
	if out, err := exec.Command(filepath.Join(dir, "writer"), "-name", name).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("writer: %v\n%s", err, out)
	}
	if err := reader.Wait(); err != nil || out.String() != "1000 hits\n" {
		t.Errorf("reader: %v, %q\n%s", err, &out, &complaints)
	}
	if _, err := os.Stat(shm.Path(name)); !os.IsNotExist(err) {
		t.Errorf("the segment is still there: %v", err)
	}
}

// TestDocumentLinks wants every file and heading that the documents link to.
func TestDocumentLinks(t *testing.T) {
	docs, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	anchor := func(heading string) string {
		heading = regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(heading), "")
		return strings.ReplaceAll(heading, " ", "-")
	}
	links := 0
	for _, doc := range append(docs, "README.md", "CHANGELOG.md") {
		prose := regexp.MustCompile("(?s)```.*?```|`[^`\n]*`").ReplaceAllString(read(t, doc), "")
		for _, m := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(prose, -1) {
			path, section, _ := strings.Cut(m[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			links++
			target := doc
			if path != "" {
				target = filepath.Join(filepath.Dir(doc), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", doc, err)
				continue
			}
			if section == "" {
				continue
			}
			found := false
			for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(read(t, target), -1) {
				found = found || anchor(h[1]) == section
			}
			if !found {
				t.Errorf("%s: %s has no section %q", doc, target, section)
			}
		}
	}
	if links == 0 {
		t.Error("no links were found")
	}
}

// TestBenchmarksAreDocumented wants docs/BENCHMARKS.md to have all benchmarks,
// and the documents to have no others.
func TestBenchmarksAreDocumented(t *testing.T) {
	sources, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, source := range sources {
		for _, m := range regexp.MustCompile(`(?m)^func Benchmark(\w+)\(`).FindAllStringSubmatch(read(t, source), -1) {
			there[m[1]] = true
		}
	}
	report := read(t, filepath.Join("docs", "BENCHMARKS.md"))
	_, rows, _ := strings.Cut(report, "| benchmark |")
	rows, _, _ = strings.Cut(rows, "\n\n")
	told := map[string]bool{}
	for row := range strings.Lines(rows) {
		first, _, _ := strings.Cut(strings.TrimPrefix(row, "|"), "|")
		for _, m := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(first, -1) {
			told[m[1]] = true
		}
	}
	for name := range there {
		if !told[name] {
			t.Errorf("docs/BENCHMARKS.md does not have Benchmark%s", name)
		}
	}
	_, figures, _ := strings.Cut(read(t, "README.md"), "<!-- figures -->")
	for _, m := range regexp.MustCompile("(?m)\\| `(\\w+)[^`]*` \\|$").FindAllStringSubmatch(figures, -1) {
		told[m[1]] = true
	}
	for name := range told {
		if !there[name] {
			t.Errorf("the documents have Benchmark%s, which is not there", name)
		}
	}
}
