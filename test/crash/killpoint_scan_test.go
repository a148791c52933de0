package crash_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
)

// function is a function of the library, or a variable that is initialised by one.
type function struct {
	name   string   // such as robust.Lock.Unlock
	points []string // the kill points in it
	stores []string // its stores to shared memory, as FILE:LINE
}

// libraryFunctions returns all functions of this module's library packages, of
// every system and build tag, without tests.
func libraryFunctions(t *testing.T) (all []function) {
	t.Helper()
	root, fset := shmtest.Root(t), token.NewFileSet()
	var files []*ast.File
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if top, _, _ := strings.Cut(filepath.ToSlash(rel), "/"); top != "." && top != "internal" {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err == nil && f.Name.Name != "main" { // a command uses the library as any program does
			files = append(files, f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s := newScanner(fset, files)
	for _, f := range files {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				all = append(all, s.scan(f.Name.Name+"."+receiver(d)+d.Name.Name, d))
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if v, ok := spec.(*ast.ValueSpec); ok {
						all = append(all, s.scan(f.Name.Name+"."+v.Names[0].Name, v))
					}
				}
			}
		}
	}
	return all
}

// receiver returns the name of a method's type and a dot, or "".
func receiver(d *ast.FuncDecl) (name string) {
	if d.Recv == nil {
		return ""
	}
	ast.Inspect(d.Recv.List[0].Type, func(n ast.Node) bool {
		if ident, ok := n.(*ast.Ident); ok && name == "" {
			name = ident.Name + "."
		}
		return true
	})
	return name
}

// scanner recognises stores to shared memory. It knows no types: it goes by the
// names of the structs in shared memory, of their fields, and of the functions and
// fields that lead there.
type scanner struct {
	fset    *token.FileSet
	structs map[string]bool // in shared memory: their names, and those of the atomic types
	fields  map[string]bool // of these structs: those that change by atomic operations
	leads   map[string]bool // functions and fields that lead to shared memory
	aliases map[string]bool // variables of the current function that do
}

func newScanner(fset *token.FileSet, files []*ast.File) *scanner {
	s := &scanner{fset: fset, structs: map[string]bool{}, fields: map[string]bool{}, leads: map[string]bool{
		"At": true, "Slice": true, "unsafe": true, // of package mem, and what that is made of
		"Data": true, "at": true, "p": true, "s": true, "b": true, // fields: slots and values
		"idle": true, "slot": true, // parameters
	}}
	for _, t := range []reflect.Type{reflect.TypeFor[format.Header](), reflect.TypeFor[format.LockCell](), reflect.TypeFor[format.CellHeader](), reflect.TypeFor[format.Cell]()} {
		s.addStruct(t)
	}
	for _, f := range files {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Type.Results != nil && s.isPointer(fn.Type.Results.List[0].Type) {
				s.leads[fn.Name.Name] = true
			}
		}
	}
	return s
}

func (s *scanner) addStruct(t reflect.Type) {
	s.structs[t.Name()] = true
	if t.PkgPath() == "sync/atomic" {
		return
	}
	for i := range t.NumField() {
		field := t.Field(i).Type
		if field.Kind() == reflect.Array {
			field = field.Elem()
		}
		if field.Kind() == reflect.Struct {
			s.fields[t.Field(i).Name] = true
			s.addStruct(field)
		}
	}
}

// isPointer reports whether a type is a pointer to a struct in shared memory.
func (s *scanner) isPointer(t ast.Expr) bool {
	star, ok := t.(*ast.StarExpr)
	return ok && s.structs[lastName(star.X)]
}

// lastName returns the name at the end of a name or a selector.
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// isShared reports whether an expression is shared memory.
func (s *scanner) isShared(e ast.Expr) (found bool) {
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			found = found || s.leads[n.Sel.Name]
		case *ast.Ident:
			found = found || s.aliases[n.Name] || len(n.Name) > 1 && s.leads[n.Name]
		}
		return !found
	})
	return found
}

// scan returns the points and the stores of a function.
func (s *scanner) scan(name string, n ast.Node) function {
	f := function{name: name}
	s.aliases = map[string]bool{}
	store := func(n ast.Node) {
		pos := s.fset.Position(n.Pos())
		f.stores = append(f.stores, filepath.Base(pos.Filename)+":"+fmt.Sprint(pos.Line))
	}
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncType:
			for _, p := range n.Params.List {
				for _, name := range p.Names {
					s.aliases[name.Name] = s.aliases[name.Name] || s.isPointer(p.Type)
				}
			}
		case *ast.AssignStmt:
			if s.assigns(n) {
				store(n)
			}
		case *ast.CallExpr:
			if point, ok := pointOf(n); ok {
				f.points = append(f.points, point)
			} else if s.isStore(n) {
				store(n)
			}
		}
		return true
	})
	return f
}

// assigns reports whether an assignment changes shared memory. It notes the
// variables that lead there.
func (s *scanner) assigns(a *ast.AssignStmt) (stores bool) {
	for i, left := range a.Lhs {
		switch left := left.(type) {
		case *ast.Ident:
			if len(a.Rhs) == len(a.Lhs) && s.leadsThere(a.Rhs[i]) {
				s.aliases[left.Name] = true
			}
		case *ast.StarExpr:
			stores = stores || s.isShared(left.X)
		case *ast.IndexExpr:
			stores = stores || s.isShared(left.X)
		case *ast.SelectorExpr:
			x := left.X
			if index, ok := x.(*ast.IndexExpr); ok {
				x = index.X
			}
			ident, ok := x.(*ast.Ident)
			stores = stores || ok && s.aliases[ident.Name] || !ok && s.fields[lastName(x)]
		}
	}
	return stores
}

// leadsThere reports whether the value of an expression is a pointer to, or a
// slice of, shared memory.
func (s *scanner) leadsThere(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.UnaryExpr:
		_, literal := e.X.(*ast.CompositeLit)
		return e.Op == token.AND && !literal && (s.fields[lastName(e.X)] || s.isShared(e.X))
	case *ast.CallExpr:
		fun := e.Fun
		if index, ok := fun.(*ast.IndexExpr); ok {
			fun = index.X
		}
		return s.leads[lastName(fun)]
	case *ast.IndexExpr, *ast.SliceExpr:
		return s.isShared(e)
	case *ast.SelectorExpr:
		return e.Sel.Name == "cell"
	}
	return false
}

// isStore reports whether a call changes shared memory.
func (s *scanner) isStore(call *ast.CallExpr) bool {
	switch fun := call.Fun.(type) {
	case *ast.Ident:
		switch fun.Name {
		case "copy", "clear":
			return s.isShared(call.Args[0])
		}
		return fun.Name == "storePlain"
	case *ast.SelectorExpr:
		switch lastName(fun.X) {
		case "atomic": // each pointer that the library passes to it is shared
			return slices.ContainsFunc([]string{"Store", "CompareAndSwap", "Swap", "Or", "And", "Add"}, func(verb string) bool {
				return strings.HasPrefix(fun.Sel.Name, verb)
			})
		case "mem":
			return fun.Sel.Name == "Store" || fun.Sel.Name == "StoreRelease" || fun.Sel.Name == "CopyFields" && s.isShared(call.Args[0])
		}
		if !slices.Contains([]string{"Store", "CompareAndSwap", "Swap", "Or", "And", "Add", "StoreBytes"}, fun.Sel.Name) {
			return false
		}
		ident, _ := fun.X.(*ast.Ident)
		selector, _ := fun.X.(*ast.SelectorExpr)
		call, _ := fun.X.(*ast.CallExpr)
		return ident != nil && s.aliases[ident.Name] || selector != nil && s.fields[selector.Sel.Name] || call != nil && s.leadsThere(call)
	}
	return false
}

// pointOf returns the name of the kill point if a call passes one.
func pointOf(call *ast.CallExpr) (name string, ok bool) {
	fun, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || fun.Sel.Name != "At" || lastName(fun.X) != "killpoint" || len(call.Args) != 1 {
		return "", false
	}
	return lastName(call.Args[0]), true
}

// killPoints returns the names of the points, in order.
func killPoints(t *testing.T) (names []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(shmtest.Root(t), "internal/killpoint/point.go"), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST && g.Lparen.IsValid() {
			for _, spec := range g.Specs {
				names = append(names, spec.(*ast.ValueSpec).Names[0].Name)
			}
		}
	}
	if len(names) < 3 || names[0] != "_" || names[len(names)-1] != "end" {
		t.Fatalf("the constants in point.go are not from _ to end: %v", names)
	}
	return names[1 : len(names)-1]
}
