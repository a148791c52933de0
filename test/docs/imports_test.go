package docs_test

import (
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"example.org/shm/internal/shmtest"
)

// layers is the packages of the library, from the bottom up, and which packages of
// this module each may import. Names are those of directories below internal.
var layers = []struct{ dir, imports string }{
	{"internal/errs", ""},
	{"internal/killpoint", ""},
	{"internal/race", ""},
	{"internal/layout", ""},
	{"internal/sys", "errs"},
	{"internal/format", "layout errs"},
	{"internal/text", "layout errs"},
	{"internal/tag", "format errs"},
	{"internal/mem", "sys errs"},
	{"internal/lease", "sys format errs killpoint"},
	{"internal/wait", "sys format killpoint"},
	{"internal/robust", "lease wait mem sys format race errs killpoint"},
	{"internal/slots", "robust mem format race killpoint"},
	{"internal/directory", "mem format layout lease wait sys errs killpoint"},
	{"internal/cells", "lease mem format layout sys race errs killpoint"},
	{".", "cells directory slots robust wait lease mem text tag format sys layout race killpoint errs"},
}

// others is the packages that no part of the library may import, and what each may
// import of this module. A directory "…/..." stands for those below it.
var others = map[string]string{
	"internal/format/formattest": "internal/format",
	"internal/mem/memtest":       "internal/mem internal/format internal/sys internal/shmtest",
	"internal/glob":              "",
	"internal/shmtest":           "internal/sys internal/race",
	"internal/ratios":            ".",
	"internal/sys/child":         "",
	"internal/sys/systest":       "",
	"internal/sys/trace":         "",
	"shmprom":                    ".",
	"shmtest":                    ". internal/sys/trace internal/sys/child internal/format internal/sys internal/race",
	"test/agent":                 ". internal/shmtest internal/format internal/mem internal/sys",
	"c":                          "",
	"python":                     "",
	"examples/...":               ". examples/...",

	// The command, from below to above.
	"cmd/shm/internal/form":     "",
	"cmd/shm/internal/proc":     "",
	"cmd/shm/internal/value":    ". cmd/shm/internal/form",
	"cmd/shm/internal/segments": ". cmd/shm/internal/form cmd/shm/internal/value",
	"cmd/shm/internal/generate": ". cmd/shm/internal/form",
	"cmd/shm/internal/bindings": ". c python",
	"cmd/shm/internal/doctor":   ". cmd/shm/internal/form",
	"cmd/shm/internal/bench":    ".",
	"cmd/shm/internal/watch":    ". cmd/shm/internal/form cmd/shm/internal/segments cmd/shm/internal/value",
	"cmd/shm/internal/serve":    ". shmprom cmd/shm/internal/form cmd/shm/internal/proc cmd/shm/internal/segments cmd/shm/internal/value",
	"cmd/shm":                   ". cmd/shm/internal/... internal/glob",
}

// confined has the packages that only these directories of the library import. The
// library imports no other modules.
var confined = map[string][]string{
	"github.com/edsrzf/mmap-go":         {"internal/sys"},
	"golang.org/x/exp/constraints":      {"."},
	"golang.org/x/sys/unix":             {"internal/sys"},
	"golang.org/x/sys/windows":          {"internal/sys"},
	"golang.org/x/sys/windows/registry": {"internal/sys"},

	// Pointers into a mapping, system calls that take an address, and the race
	// detector's functions.
	"unsafe": {"internal/mem", "internal/race", "internal/sys"},

	// For layouts, to name types in errors, and for an Entry, whose user may not
	// have the type. No verb of a handle uses it.
	"reflect": {".", "internal/layout", "internal/mem", "internal/text"},
}

// allowed returns the directories that the package of a directory may import, and
// false if there is no rule for it. A name that ends in "..." stands for those
// below.
func allowed(dir string) (dirs []string, ok bool) {
	for _, l := range layers {
		if l.dir == dir {
			for name := range strings.FieldsSeq(l.imports) {
				dirs = append(dirs, "internal/"+name)
			}
			return dirs, true
		}
	}
	for name, imports := range others {
		if matches(name, dir) {
			return strings.Fields(imports), true
		}
	}
	return nil, false
}

// matches reports whether a name of the table stands for a directory.
func matches(name, dir string) bool {
	below, ok := strings.CutSuffix(name, "...")
	return name == dir || ok && strings.HasPrefix(dir+"/", below)
}

// imported returns what a file imports, each with its position.
func imported(t *testing.T, f *ast.File) map[string]*ast.ImportSpec {
	t.Helper()
	paths := map[string]*ast.ImportSpec{}
	for _, spec := range f.Imports {
		paths[shmtest.Must(strconv.Unquote(spec.Path.Value))(t)] = spec
	}
	return paths
}

// TestImports holds the imports of all packages, for all systems, against the
// tables above. Go itself refuses circles of packages.
func TestImports(t *testing.T) {
	where := map[string][]string{}
	seen := map[string]bool{}
	for i, l := range layers {
		seen[l.dir] = true
		dirs, _ := allowed(l.dir)
		for _, dir := range dirs {
			if !slices.ContainsFunc(layers[:i], func(lower struct{ dir, imports string }) bool { return lower.dir == dir }) {
				t.Errorf("%s is not below %s in the table", dir, l.dir)
			}
		}
	}
	for _, dir := range packages(t) {
		may, ok := allowed(dir)
		if !ok {
			t.Errorf("%s: TestImports has no rule for this package", dir)
			continue
		}
		library := seen[dir]
		delete(seen, dir)
		s := sourcesOf(t, dir)
		for _, f := range s.files {
			for imports, spec := range imported(t, f) {
				at := s.fset.Position(spec.Pos())
				first, _, _ := strings.Cut(imports, "/")
				_, known := confined[imports]
				switch {
				case imports == "C":
					t.Errorf("%v: cgo", at)
				case imports == module || strings.HasPrefix(imports, module+"/"):
					if to := directory(imports); !slices.ContainsFunc(may, func(name string) bool { return matches(name, to) }) {
						t.Errorf("%v: %s may import %q of this module, not %s", at, dir, may, to)
					}
				case library && !known && strings.Contains(first, "."):
					t.Errorf("%v: the library imports %s", at, imports)
				}
				if spec.Name != nil && (spec.Name.Name == "." || imports == "unsafe") {
					t.Errorf("%v: import of %s as %s", at, imports, spec.Name)
				}
				if library && known && !slices.Contains(where[imports], dir) {
					where[imports] = append(where[imports], dir)
				}
			}
		}
	}
	for dir := range seen {
		t.Errorf("%s: there is no such package", dir)
	}
	for imports, want := range confined {
		slices.Sort(where[imports])
		if !slices.Equal(where[imports], want) {
			t.Errorf("%s is imported by %q, want %q", imports, where[imports], want)
		}
	}
}

// TestRoot checks that the root has few files, and the names that users of this
// module know.
func TestRoot(t *testing.T) {
	if n := len(sourcesOf(t, ".").files); n > 38 {
		t.Errorf("%d source files in the root, want at most 38", n)
	}
	for _, name := range []string{"go.mod", "raw.go", "value.go", "chararray.go", "layout.go", "bench_test.go", "fuzz_test.go"} {
		if _, err := os.Stat(filepath.Join(shmtest.Root(t), name)); err != nil {
			t.Error(err)
		}
	}
}

// TestPackageComments checks that each package of the library has one comment of
// more than one line. If the package is internal, the comment has a sentence such
// as "The package may import sys and errs." that agrees with the table of layers.
func TestPackageComments(t *testing.T) {
	for _, l := range layers {
		var comments []string
		for _, f := range sourcesOf(t, l.dir).files {
			if f.Doc != nil && strings.HasPrefix(f.Doc.Text(), "Package ") {
				comments = append(comments, f.Doc.Text())
			}
		}
		if len(comments) != 1 || strings.Count(comments[0], "\n") < 2 {
			t.Errorf("%s has %d package comments, want one of more than one line", l.dir, len(comments))
			continue
		}
		if l.dir == "." {
			continue // That comment is for users.
		}
		text := strings.Join(strings.Fields(comments[0]), " ")
		sentence := regexp.MustCompile(`\b(?:It|The package) (?:may )?imports? [^.]*\.`).FindString(text)
		var says []string
		for _, other := range layers[:len(layers)-1] {
			if name := path.Base(other.dir); regexp.MustCompile(`\b` + name + `\b`).MatchString(sentence) {
				says = append(says, name)
			}
		}
		want := strings.Fields(l.imports)
		slices.Sort(says)
		slices.Sort(want)
		if sentence == "" || !slices.Equal(says, want) {
			t.Errorf("%s: the package comment says %q, the table that it may import %q", l.dir, sentence, want)
		}
	}
}

// systems are the values of GOOS that build constraints and names of files may have.
var systems = []string{
	"aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux", "nacl", "netbsd", "openbsd", "plan9", "solaris",
	"wasip1", "windows", "zos", "unix",
}

// TestSystemsAreInSys checks that only internal/sys has files for certain operating
// systems.
func TestSystemsAreInSys(t *testing.T) {
	found := 0
	for _, l := range layers {
		for name, f := range sourcesOf(t, l.dir).files {
			words := strings.Split(strings.TrimSuffix(name, ".go"), "_")[1:]
			for _, group := range f.Comments {
				for _, c := range group.List {
					if rule, ok := strings.CutPrefix(c.Text, "//go:build "); ok && c.Pos() < f.Package {
						words = append(words, regexp.MustCompile(`\w+`).FindAllString(rule, -1)...)
					}
				}
			}
			for _, word := range words {
				if !slices.Contains(systems, word) {
					continue
				}
				if found++; l.dir != "internal/sys" {
					t.Errorf("%s/%s is for %s", l.dir, name, word)
				}
			}
		}
	}
	if found == 0 {
		t.Error("no file for a system was found")
	}
}

// TestNoLinkname looks for go:linkname in all packages.
func TestNoLinkname(t *testing.T) {
	for _, dir := range packages(t) {
		s := sourcesOf(t, dir)
		for _, f := range s.files {
			for _, group := range f.Comments {
				for _, c := range group.List {
					if strings.HasPrefix(c.Text, "//go:linkname") {
						t.Errorf("%v: %s", s.fset.Position(c.Pos()), c.Text)
					}
				}
			}
		}
	}
}
