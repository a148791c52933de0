package docs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/shm/internal/shmtest"
)

// TestConsumerGetsThreeModules makes a program in a module of its own that imports the
// library, as README.md says. Its go.sum has the three modules that the library needs, and
// none of those that cmd/, shmprom, bench and the tests import, although all is one module.
func TestConsumerGetsThreeModules(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  "module consumer\n\ngo 1.26\n",
		"main.go": "package main\n\nimport \"" + module + "\"\n\nfunc main() { println(shm.Path(\"x\")) }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"mod", "edit", "-require=" + module + "@v0.0.0", "-replace=" + module + "=" + shmtest.Root(t)},
		{"mod", "tidy"},
		{"build", "-o", os.DevNull, "."},
	} {
		cmd := exec.Command(shmtest.Tool(t, "go"), args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off", "GOPROXY=off", "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	sums, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	var modules []string
	for line := range strings.Lines(string(sums)) {
		if name, _, _ := strings.Cut(line, " "); !slices.Contains(modules, name) {
			modules = append(modules, name)
		}
	}
	want := []string{"github.com/edsrzf/mmap-go", "golang.org/x/exp", "golang.org/x/sys"}
	if !slices.Equal(modules, want) {
		t.Errorf("go.sum of a program that imports the library has %q, want %q", modules, want)
	}
	required, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range want {
		if !strings.Contains(string(required), m+" v") {
			t.Errorf("go.mod does not require %s:\n%s", m, required)
		}
		if !strings.Contains(read(t, "README.md"), fmt.Sprintf("`%s`", m)) {
			t.Errorf("README.md does not name %s", m)
		}
	}
}
