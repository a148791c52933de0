package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strings"
	"testing"
)

// sharedctypesPage is docs/sharedctypes.md.
type sharedctypesPage struct {
	text             string
	python, examples []string // blocks of code
	refused          string   // the block after the marker
}

func readSharedctypesPage(t *testing.T) sharedctypesPage {
	t.Helper()
	p := sharedctypesPage{text: read(t, "docs/sharedctypes.md")}
	for _, m := range regexp.MustCompile("(?s)(<!-- refused -->\n\n)?```(\\w+)\n(.*?)```\n").FindAllStringSubmatch(p.text, -1) {
		switch {
		case m[1] != "":
			p.refused = m[3]
		case m[2] == "go":
			p.examples = append(p.examples, m[3])
		case m[2] == "pycon":
			p.python = append(p.python, m[3])
		default:
			t.Errorf("a block of %s", m[2])
		}
	}
	return p
}

// exampleBodies returns the bodies of a file's examples as the page has them,
// without the lines that open a segment, by name.
func exampleBodies(t *testing.T, file string) map[string]string {
	t.Helper()
	source := read(t, file)
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	bodies := map[string]string{}
	for _, d := range f.Decls {
		if d, ok := d.(*ast.FuncDecl); ok {
			body := source[fset.Position(d.Body.Lbrace).Offset+2 : fset.Position(d.Body.Rbrace).Offset]
			body = regexp.MustCompile(`(?m)^\t`).ReplaceAllString(body, "")
			bodies[d.Name.Name] = strings.TrimPrefix(body, "seg := must(shm.Anonymous(nil))\ndefer seg.Close()\n")
		}
	}
	return bodies
}

// TestSharedctypesPage checks that the Go code of docs/sharedctypes.md is the
// examples of sharedctypes_example_test.go, all of them and nothing else.
func TestSharedctypesPage(t *testing.T) {
	shown := map[string]bool{}
	for _, code := range readSharedctypesPage(t).examples {
		shown[code] = true
	}
	for name, body := range exampleBodies(t, "sharedctypes_example_test.go") {
		if !shown[body] {
			t.Errorf("docs/sharedctypes.md does not show %s:\n%s", name, body)
		}
		delete(shown, body)
	}
	for code := range shown {
		t.Errorf("docs/sharedctypes.md has code that is not an example:\n%s", code)
	}
}

// TestSharedctypesTables checks that all code in the tables is part of the code
// below them, which is run. A name alone does not count as code.
func TestSharedctypesTables(t *testing.T) {
	page := readSharedctypesPage(t)
	column := map[string]string{
		"sharedctypes": strings.Join(page.python, ""),
		"Go":           unindented(strings.Join(page.examples, "")),
	}
	spans := 0
	for _, table := range regexp.MustCompile(`(?m)(?:^\|.*\n)+`).FindAllString(page.text, -1) {
		rows := strings.Split(strings.TrimSpace(table), "\n")
		head := strings.Split(rows[0], "|")
		for _, row := range rows[2:] {
			cells := strings.Split(row, "|")
			if len(cells) != len(head) {
				t.Errorf("a row of %d cells under a head of %d: %s", len(cells), len(head), row)
				continue
			}
			for i, cell := range cells {
				code, ok := column[strings.TrimSpace(head[i])]
				for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
					if !ok || regexp.MustCompile(`^\*?\w+$`).MatchString(m[1]) {
						continue
					}
					spans++
					if !strings.Contains(code, m[1]) {
						t.Errorf("%s is in no block of the page", m[0])
					}
				}
			}
		}
	}
	if spans < 100 {
		t.Errorf("only %d pieces of code in the tables", spans)
	}
}

// TestSharedctypesRefused compiles the lines that do not compile, as
// docs/sharedctypes.md says, and compares the compiler's errors with those on the
// page.
func TestSharedctypesRefused(t *testing.T) {
	const before = "package refused\n\nimport \"example.org/shm\"\n\ntype Point struct{ X, Y float64 }\n\n" +
		"func _(n shm.RawValue[int32], v shm.Value[int32], p shm.Struct[Point], s []int32) {\n"
	block := readSharedctypesPage(t).refused
	wrong := compile(t, before+block+"}\n")
	lines := strings.Split(strings.TrimSpace(block), "\n")
	if len(lines) < 10 {
		t.Fatalf("only %d lines", len(lines))
	}
	for i, line := range lines {
		_, want, ok := strings.Cut(line, "// ")
		if got := wrong[strings.Count(before, "\n")+1+i]; !ok || !strings.Contains(got, want) {
			t.Errorf("%s: the compiler says %q", line, got)
		}
	}
}
