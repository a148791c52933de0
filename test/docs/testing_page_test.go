package docs_test

import (
	"go/ast"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"example.org/shm"
	kit "example.org/shm/shmtest"

	"example.org/shm/internal/shmtest"
)

// The names and signatures of package shmtest, as api_test.go has those of package shm.
var (
	_ func(testing.TB, *shm.Options) *shm.Segment                                            = kit.Segment
	_ func(*testing.M)                                                                       = kit.Main
	_ func(testing.TB, *shm.Segment, func(*shm.Segment)) *kit.Proc                           = kit.Process
	_ func(testing.TB, func(*shm.Segment), func(*shm.Segment), func(*shm.Segment) error) int = kit.States
	_ func(testing.TB, func(*shm.Segment), func(*shm.Segment), func(*shm.Segment) error) int = kit.Kill
	_ interface{ Wait() }                                                                    = (*kit.Proc)(nil)
	_ interface{ Kill() }                                                                    = (*kit.Proc)(nil)
	_ interface{ Stop() }                                                                    = (*kit.Proc)(nil)
	_ interface{ Continue() }                                                                = (*kit.Proc)(nil)
)

// codeOfPage checks that all Go code of a page is in tests of a directory, and returns
// these tests.
func codeOfPage(t *testing.T, page, dir string) (tests string) {
	t.Helper()
	for _, name := range filesNamed(t, "_test.go") {
		if strings.HasPrefix(name, dir+"/") {
			tests += read(t, name)
		}
	}
	blocks := regexp.MustCompile("(?s)```go\n(?:import[^\n]*\n\n)?(.*?)```\n").FindAllStringSubmatch(read(t, page), -1)
	for _, m := range blocks {
		if !strings.Contains(tests, m[1]) {
			t.Errorf("no test of %s has this code:\n%s", dir, m[1])
		}
	}
	if len(blocks) < 5 {
		t.Errorf("only %d blocks of code were found in %s", len(blocks), page)
	}
	return tests
}

func TestRecipesPage(t *testing.T) { codeOfPage(t, "docs/recipes.md", "examples/recipes") }

// TestTestingPage checks that all Go code in docs/testing.md is code of shmtest's tests,
// and that these tests use each exported name of the package.
func TestTestingPage(t *testing.T) {
	tests := codeOfPage(t, "docs/testing.md", "shmtest")
	for _, f := range sourcesOf(t, "shmtest").files {
		for _, d := range f.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !f.Name.IsExported() || f.Recv != nil && !exportedReceiver(f.Recv.List[0].Type) {
				continue
			}
			use := "shmtest." + f.Name.Name
			if f.Recv != nil {
				use = "." + f.Name.Name + "()"
			}
			if !strings.Contains(tests, use) {
				t.Errorf("no test of shmtest uses %s", use)
			}
		}
	}
}

// TestUsersBuildHasFewModules checks which modules the packages bring along that
// programs import.
func TestUsersBuildHasFewModules(t *testing.T) {
	cmd := exec.Command(shmtest.Tool(t, "go"), "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", module, module+"/shmtest")
	cmd.Dir = shmtest.Root(t)
	few := map[string]bool{"": true, module: true, "github.com/edsrzf/mmap-go": true, "golang.org/x/exp": true, "golang.org/x/sys": true}
	for line := range strings.Lines(string(shmtest.Must(cmd.Output())(t))) {
		if m := strings.TrimSpace(line); !few[m] {
			t.Errorf("the packages for users import module %s", m)
		}
	}
}
