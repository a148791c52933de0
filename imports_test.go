package shm_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// modules is what the package may import beside the standard library, and where:
// nil is anywhere.
var modules = map[string][]string{
	"github.com/edsrzf/mmap-go":    {"mapping.go"},
	"golang.org/x/exp/constraints": nil,
	"golang.org/x/sys/unix":        nil,
	"golang.org/x/sys/windows":     nil,
}

// confined is the packages of the standard library that only these files import.
var confined = map[string][]string{
	// Pointers into a mapping, system calls that take an address, and the race
	// detector's.
	"unsafe": {"futex_linux.go", "futex_linux32.go", "futex_linux64.go", "race_on.go", "unsafe.go"},
	// When a handle is made, to name a type in an error, and in parse.go and
	// text.go for Entry, whose users have no type: never in a handle's verbs.
	"reflect": {"bind.go", "bools.go", "errors.go", "format.go", "layout.go", "parse.go", "text.go"},
}

// parseSources parses the package's files for all systems, without its tests.
func parseSources(t *testing.T) (*token.FileSet, map[string]*ast.File) {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	fset, files := token.NewFileSet(), map[string]*ast.File{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = f
	}
	if len(files) == 0 {
		t.Fatal("no sources here")
	}
	return fset, files
}

func TestImports(t *testing.T) {
	fset, files := parseSources(t)
	where := map[string][]string{}
	for name, f := range files {
		for _, spec := range f.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			where[path] = append(where[path], name)
			first, _, _ := strings.Cut(path, "/")
			if _, known := modules[path]; !known && (strings.Contains(first, ".") || path == "C") {
				t.Errorf("%v: import of %s, which is neither the standard library's nor one of %q", fset.Position(spec.Pos()), path, slices.Sorted(maps.Keys(modules)))
			}
			if spec.Name != nil && (spec.Name.Name == "." || path == "unsafe") {
				t.Errorf("%v: import of %s as %s", fset.Position(spec.Pos()), path, spec.Name)
			}
		}
	}
	exactly := maps.Clone(confined)
	for path, in := range modules {
		if in != nil {
			exactly[path] = in
		}
	}
	for path, want := range exactly {
		if got := slices.Sorted(slices.Values(where[path])); !slices.Equal(got, want) {
			t.Errorf("%s is imported by %q, want %q", path, got, want)
		}
	}
}

// TestUnsafeIsProved wants a comment with SAFETY: in each function that goes
// through package unsafe, or over the block of one-liners that it is in, or
// "SAFETY, here and below:" above it in the file. Sizes and alignments are
// constants and need none.
func TestUnsafeIsProved(t *testing.T) {
	fset, files := parseSources(t)
	uses := 0
	for _, f := range files {
		for i, decl := range f.Decls {
			// A block of one-liners is one section.
			first := i
			for first > 0 && fset.Position(start(f.Decls[first])).Line == fset.Position(f.Decls[first-1].End()).Line+1 {
				first--
			}
			from := start(f.Decls[first])
			ast.Inspect(decl, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				fun, ok := call.Fun.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if pkg, ok := fun.X.(*ast.Ident); !ok || pkg.Name != "unsafe" || slices.Contains([]string{"Sizeof", "Alignof", "Offsetof"}, fun.Sel.Name) {
					return true
				}
				uses++
				if !proved(f, from, decl.End()) {
					t.Errorf("%v: unsafe.%s without a SAFETY comment", fset.Position(call.Pos()), fun.Sel.Name)
				}
				return true
			})
		}
	}
	if uses == 0 {
		t.Error("no use of unsafe was found: this test looks in the wrong place")
	}
}

// start is where a declaration begins, its comment included.
func start(d ast.Decl) token.Pos {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Doc != nil {
			return d.Doc.Pos()
		}
	case *ast.GenDecl:
		if d.Doc != nil {
			return d.Doc.Pos()
		}
	}
	return d.Pos()
}

// proved reports whether a SAFETY comment covers what stands between from and
// end.
func proved(f *ast.File, from, end token.Pos) bool {
	return slices.ContainsFunc(f.Comments, func(c *ast.CommentGroup) bool {
		if c.Pos() >= end {
			return false
		}
		text := c.Text()
		return c.Pos() >= from && strings.Contains(text, "SAFETY:") || strings.Contains(text, "SAFETY, here and below:")
	})
}
