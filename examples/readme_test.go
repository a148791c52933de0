// Package examples has no code of its own. Its directories are the examples.
package examples

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadmes checks the README.md of each example. It must be short, and its
// commands must name all programs of the example and no program that does not
// exist.
func TestReadmes(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, e := range entries {
		dir := e.Name()
		if !e.IsDir() || dir == "internal" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, "README.md"))
		if err != nil {
			t.Error(err)
			continue
		}
		read++
		if n := strings.Count(string(text), "\n"); n > 45 {
			t.Errorf("%s/README.md has %d lines", dir, n)
		}
		named := map[string]bool{}
		for _, path := range regexp.MustCompile(`(?m)^    .*\b(examples/[\w/.]*\w)`).FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(root, path[1])); err != nil {
				t.Errorf("%s/README.md: %v", dir, err)
			}
			named[path[1]] = true
		}
		for _, pattern := range []string{"main.go", "*/main.go", "*.py"} {
			programs, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil {
				t.Fatal(err)
			}
			for _, program := range programs {
				if path := filepath.ToSlash(filepath.Join("examples", strings.TrimSuffix(program, "/main.go"))); !named[path] {
					t.Errorf("%s/README.md does not say how to run %s", dir, path)
				}
			}
		}
	}
	if read == 0 {
		t.Error("no example was found")
	}
}
