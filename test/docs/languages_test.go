package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestLanguages compares docs/languages.md with the exported names of Go, Python and C:
// each is there, and all that is there exists. A cell without a name has a reason.
func TestLanguages(t *testing.T) {
	table := parseLanguages(t, read(t, "docs/languages.md"))
	for i, l := range []struct {
		language string
		have     map[string]bool // true: has to be in the table
		name     *regexp.Regexp
	}{
		{"Go", goNames(t), regexp.MustCompile(`^[A-Z]\w*(\.[A-Z]\w*)?$`)},
		{"Python", pythonNames(t), regexp.MustCompile(`^(shm|[A-Z]\w*)\.\w+$`)},
		{"C", cNames(t), regexp.MustCompile(`^shm_\w+$`)},
	} {
		if len(l.have) < 60 {
			t.Fatalf("%s has only %d names: the test does not find them", l.language, len(l.have))
		}
		stated := map[string]bool{}
		for _, row := range table.rows {
			for _, name := range row[i] {
				stated[name] = true
			}
		}
		for _, name := range table.only[l.language] {
			stated[name] = true
		}
		for _, name := range slices.Sorted(maps.Keys(stated)) {
			if _, ok := l.have[name]; !ok && l.name.MatchString(name) {
				t.Errorf("docs/languages.md: %s has no %s", l.language, name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(l.have)) {
			if l.have[name] && !stated[name] {
				t.Errorf("docs/languages.md lacks %s of %s", name, l.language)
			}
		}
	}
}

// languages is what docs/languages.md says.
type languages struct {
	rows [][3][]string
	only map[string][]string // by language: names that the others do not have
}

// parseLanguages returns the names in the cells. It complains about cells that have
// neither a name nor a reason.
func parseLanguages(t *testing.T, text string) languages {
	t.Helper()
	inCell := regexp.MustCompile("`([^`]+)`")
	names := func(cell string) (all []string) {
		for _, m := range inCell.FindAllStringSubmatch(cell, -1) {
			all = append(all, m[1])
		}
		return all
	}
	found := languages{only: map[string][]string{}}
	seen := map[string]bool{}
	only := ""
	for _, line := range strings.Split(text, "\n") {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			only, _ = strings.CutPrefix(title, "Only in ")
			if only == title {
				only = ""
			}
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		switch {
		case only != "" && len(cells) == 2:
			found.only[only] = append(found.only[only], names(cells[0])...)
		case only == "" && len(cells) == 3:
			var row [3][]string
			for i, cell := range cells {
				row[i] = names(cell)
				if reason := inCell.ReplaceAllString(cell, ""); len(row[i]) == 0 && len(strings.Fields(reason)) < 4 {
					t.Errorf("docs/languages.md: a cell without a name and a reason: %s", line)
				}
			}
			for _, name := range row[0] {
				if seen[name] {
					t.Errorf("docs/languages.md has %s twice", name)
				}
				seen[name] = true
			}
			found.rows = append(found.rows, row)
		default:
			t.Errorf("docs/languages.md: a row with %d cells: %s", len(cells), line)
		}
	}
	return found
}

// goNames returns the exported names of the package, and methods as Type.Method.
func goNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, name := range filesNamed(t, ".go") {
		if strings.HasSuffix(name, "_test.go") || path.Dir(name) != "." {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, read(t, name), 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if of := receiver(d); d.Name.IsExported() && (of == "" || ast.IsExported(of)) {
					names[strings.TrimPrefix(of+"."+d.Name.Name, ".")] = true
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						names[s.Name.Name] = s.Name.IsExported()
					case *ast.ValueSpec:
						for _, n := range s.Names {
							names[n.Name] = n.IsExported()
						}
					}
				}
			}
		}
	}
	return names
}

// receiver returns the name of the type of which a function is a method, or "".
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	of := d.Recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	if index, ok := of.(*ast.IndexExpr); ok {
		of = index.X
	}
	return of.(*ast.Ident).Name
}

// pythonNames returns what the type stubs have: shm.name, and Class.method. A name with
// an underscore in front need not be in the table.
func pythonNames(t *testing.T) map[string]bool {
	t.Helper()
	class := regexp.MustCompile(`^class (\w+)(?:\((.*)\))?:`)
	member := regexp.MustCompile(`^(    )?(?:async )?(?:def (\w+)\(|(\w+):)`)
	names, members := map[string]bool{}, map[string][]string{}
	bases := map[string][]string{}
	in := ""
	for _, line := range strings.Split(read(t, "python/shm/__init__.pyi"), "\n") {
		if m := class.FindStringSubmatch(line); m != nil {
			in = m[1]
			names["shm."+in] = in[0] != '_'
			bases[in] = regexp.MustCompile(`\w+`).FindAllString(m[2], -1)
			continue
		}
		m := member.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		name := m[2] + m[3]
		if m[1] == "" {
			names["shm."+name] = name[0] != '_' || name == "__version__"
		} else {
			members[in] = append(members[in], name)
		}
	}
	for name := range bases {
		if name[0] == '_' || name == "Field" { // its fields are the arguments of its constructor
			continue
		}
		for _, of := range append([]string{name}, bases[name]...) {
			for _, member := range members[of] {
				names[name+"."+member] = member[0] != '_'
			}
		}
	}
	return names
}

// cNames returns the functions in the manual of c/shm.h, and its types, which need not be
// in the table.
func cNames(t *testing.T) map[string]bool {
	t.Helper()
	manual, _, ok := strings.Cut(read(t, "c/shm.h"), "#define SHM_NEXT")
	if !ok {
		t.Fatal("c/shm.h has no SHM_NEXT behind its manual")
	}
	names := map[string]bool{}
	for _, m := range regexp.MustCompile(`typedef struct (shm_\w+)`).FindAllStringSubmatch(manual, -1) {
		names[m[1]] = false
	}
	declared := regexp.MustCompile(`(?:int|void|bool|char|double|uint64_t|T|and) \**(shm_\w+)\(`)
	for _, line := range strings.Split(manual, "\n") {
		for _, m := range declared.FindAllStringSubmatch(line, -1) {
			names[m[1]] = true
		}
	}
	return names
}
