package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"example.org/shm/internal/shmtest"
)

// TestReadmes checks the README.md of each example. It must be short, and its
// commands must name all programs of the example and no program that does not
// exist.
func TestReadmes(t *testing.T) {
	root := shmtest.Root(t)
	examples := filepath.Join(root, "examples")
	entries := shmtest.Must(os.ReadDir(examples))(t)
	read := 0
	for _, e := range entries {
		dir := e.Name()
		if !e.IsDir() || dir == "internal" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(examples, dir, "README.md"))
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
			for _, program := range shmtest.Must(filepath.Glob(filepath.Join(examples, dir, pattern)))(t) {
				path := shmtest.Must(filepath.Rel(root, strings.TrimSuffix(program, "/main.go")))(t)
				if path = filepath.ToSlash(path); !named[path] {
					t.Errorf("%s/README.md does not say how to run %s", dir, path)
				}
			}
		}
	}
	if read == 0 {
		t.Error("no example was found")
	}
}
