package shm

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"
)

// killPointFiles are the lock, allocate, grow and publish paths.
var killPointFiles = []string{
	"mutex.go", "lock.go", "takeover.go", "change.go", "lease_linux.go", "directory.go",
	"raw.go", "value.go", "array.go", "slots.go", "struct.go", "string.go",
}

// pointsAndStores returns the numbers of a function's kill points, and how many
// stores to shared memory it makes.
func pointsAndStores(f *ast.FuncDecl) (points []int, stores int) {
	fields := map[string]bool{ // of the header, the table of ids and the lock cell
		"word": true, "change": true, "probed": true, "starve": true, "abandoned": true, "takeovers": true, "extent": true,
		"commit": true, "allocated": true, "used": true, "dirty": true, "nextID": true, "boot": true,
	}
	verbs := map[string]bool{
		"Store": true, "CompareAndSwap": true, "Swap": true, "Or": true, "And": true, "Add": true, "store": true, "storeBytes": true,
	}
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		switch fun := call.Fun.(type) {
		case *ast.Ident:
			switch fun.Name {
			case "killPoint":
				p, err := strconv.Atoi(call.Args[0].(*ast.BasicLit).Value)
				if err == nil {
					points = append(points, p)
				}
			case "storeWord", "storeRelease":
				stores++
			}
		case *ast.SelectorExpr:
			if !verbs[fun.Sel.Name] {
				break
			}
			switch x := fun.X.(type) {
			case *ast.SelectorExpr:
				if entry, ok := x.X.(*ast.Ident); fields[x.Sel.Name] || ok && entry.Name == "entry" {
					stores++
				}
			case *ast.Ident: // a variable that stands for one
				if fields[x.Name] {
					stores++
				}
			}
		}
		return true
	})
	return points, stores
}

// A store on these paths has a kill point, at which killpoint_linux_test.go stops a
// process: whoever adds one adds the other. Points are numbered through. The
// fast path's own are in the slow one, which the build with kill points takes.
func TestEveryStoreHasAKillPoint(t *testing.T) {
	fast := map[string]bool{"lock": true, "unlock": true}
	var all []int
	for _, file := range killPointFiles {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			points, stores := pointsAndStores(fn)
			all = append(all, points...)
			if len(points) < stores && !fast[fn.Name.Name] {
				t.Errorf("%s: %s has %d stores to shared memory and %d kill points", file, fn.Name.Name, stores, len(points))
			}
		}
	}
	want := make([]int, len(all))
	for i := range want {
		want[i] = i + 1
	}
	slices.Sort(all)
	if fmt.Sprint(all) != fmt.Sprint(want) {
		t.Errorf("kill points %v, want each of 1 to %d once", all, len(all))
	}
}
