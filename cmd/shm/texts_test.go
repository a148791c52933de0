package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/segments"
)

// The help names the directory of segments of this system.
func TestHelpNamesTheDirectory(t *testing.T) {
	root := root()
	texts := map[string]string{"": root.Description}
	for _, c := range root.Commands {
		texts[c.Name] = c.Description
	}
	for _, name := range []string{"", "rm", "serve"} {
		if !strings.Contains(texts[name], segments.Dir) {
			t.Errorf("the help of shm %s does not name %s", name, segments.Dir)
		}
	}
	if !strings.Contains(texts[""], shm.Path("NAME")) {
		t.Errorf("the help of shm does not say that NAME is %s", shm.Path("NAME"))
	}
}

// A text of the tool that is for all systems names nothing that only Linux has.
func TestTextsAreForAllSystems(t *testing.T) {
	texts := 0
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		linux := strings.HasSuffix(path, "_linux.go")
		if err != nil || linux || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING {
				texts++
				for _, only := range []string{"/dev/shm", "memfd", "systemd", "pidfd", "tmpfs"} {
					if strings.Contains(text.Value, only) {
						t.Errorf("%s: a text names %s: %s", path, only, text.Value)
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil || texts == 0 {
		t.Fatalf("%d texts, %v", texts, err)
	}
}

// A table has the unit of an array that it cuts, unless the unit is long itself.
func TestCutBeforeTheUnit(t *testing.T) {
	long := strings.Repeat("1, ", 40)
	for _, c := range []struct {
		text, unit, want string
		was              bool
	}{
		{"[1, 2] jobs", " jobs", "[1, 2] jobs", false},
		{"[1.0 MiB]", " bytes", "[1.0 MiB]", false},
		{long + " jobs", " jobs", long[:widest-1] + "… jobs", true},
		{long, "", long[:widest-1] + "…", true},
		{"1 " + long, " " + long, ("1 " + long)[:widest-1] + "…", true},
	} {
		if got, was := cutBefore(c.text, c.unit); got != c.want || was != c.was {
			t.Errorf("%q before %q is %q, cut: %v; want %q", c.text, c.unit, got, was, c.want)
		}
	}
}
