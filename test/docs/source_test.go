package docs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"example.org/shm/internal/shmtest"
)

const module = "example.org/shm"

// sources is the files of one package for all systems, without its tests.
type sources struct {
	dir   string // from the module's root; "." for the root
	fset  *token.FileSet
	files map[string]*ast.File // by base name
}

// sourcesOf parses a directory of this module.
func sourcesOf(t testing.TB, dir string) sources {
	t.Helper()
	s := sources{dir, token.NewFileSet(), map[string]*ast.File{}}
	for _, name := range files(t) {
		if path.Dir(name) != dir || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(s.fset, filepath.Join(shmtest.Root(t), name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		s.files[path.Base(name)] = f
	}
	if len(s.files) == 0 {
		t.Fatalf("no sources in %s", dir)
	}
	return s
}

// packages returns the directories of this module's packages that have more than
// tests, as go list does.
func packages(t testing.TB) (dirs []string) {
	t.Helper()
	cmd := exec.Command(shmtest.Tool(t, "go"), "list", "-f", "{{if .GoFiles}}{{.ImportPath}}{{end}}", "./...")
	cmd.Dir, cmd.Stderr = shmtest.Root(t), os.Stderr
	for line := range strings.Lines(string(shmtest.Must(cmd.Output())(t))) {
		if line = strings.TrimSpace(line); line != "" {
			dirs = append(dirs, directory(line))
		}
	}
	return dirs
}

// directory returns the directory of an import path of this module.
func directory(importPath string) string {
	return path.Clean("./" + strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/"))
}

// checked is a package that go/types has checked, for this system.
type checked struct {
	fset *token.FileSet
	pkg  *types.Package
	uses map[*ast.Ident]types.Object
}

// check checks the package of a directory of this module. It reads the imports from
// what the compiler has left for them.
func check(t testing.TB, dir string) checked {
	t.Helper()
	shmtest.Tool(t, "go")
	list, err := exported()
	if err != nil {
		t.Fatal(err)
	}
	importPath := path.Join(module, dir)
	c := checked{fset: token.NewFileSet(), uses: map[*ast.Ident]types.Object{}}
	var parsed []*ast.File
	for _, name := range list[importPath].GoFiles {
		f, err := parser.ParseFile(c.fset, filepath.Join(list[importPath].Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, f)
	}
	config := types.Config{
		Importer: importer.ForCompiler(c.fset, "gc", func(imported string) (io.ReadCloser, error) { return os.Open(list[imported].Export) }),
		Sizes:    types.SizesFor("gc", runtime.GOARCH),
	}
	c.pkg, err = config.Check(importPath, c.fset, parsed, &types.Info{Uses: c.uses})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// listed is what go list says of a package.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
}

// exported returns the packages of the library, and all that they import.
var exported = sync.OnceValues(func() (map[string]listed, error) {
	list := map[string]listed{}
	args := []string{"list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles"}
	for _, l := range layers {
		args = append(args, path.Join(module, l.dir))
	}
	out, err := exec.Command("go", args...).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil, fmt.Errorf("go list: %w\n%s", err, exit.Stderr)
	} else if err != nil {
		return nil, err
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); err == io.EOF {
			return list, nil
		} else if err != nil {
			return nil, err
		}
		list[p.ImportPath] = p
	}
})
