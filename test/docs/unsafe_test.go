package docs_test

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// TestUnsafeIsProved checks that each function that uses package unsafe has a
// comment with SAFETY:, or is in a block of one-liners under such a comment, or comes
// after "SAFETY, here and below:" in its file. Sizes and offsets are constants and
// need no proof.
func TestUnsafeIsProved(t *testing.T) {
	uses := 0
	for _, dir := range packages(t) {
		s := sourcesOf(t, dir)
		for _, f := range s.files {
			for i, decl := range f.Decls {
				first := i
				for first > 0 && s.fset.Position(start(f.Decls[first])).Line == s.fset.Position(f.Decls[first-1].End()).Line+1 {
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
						t.Errorf("%v: unsafe.%s without a SAFETY comment", s.fset.Position(call.Pos()), fun.Sel.Name)
					}
					return true
				})
			}
		}
	}
	if uses == 0 {
		t.Error("no use of unsafe was found")
	}
}

// start returns where a declaration starts, with its comment.
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

// proved reports whether a SAFETY comment covers what is between two positions.
func proved(f *ast.File, from, end token.Pos) bool {
	return slices.ContainsFunc(f.Comments, func(c *ast.CommentGroup) bool {
		if c.Pos() >= end {
			return false
		}
		text := c.Text()
		return c.Pos() >= from && strings.Contains(text, "SAFETY:") || strings.Contains(text, "SAFETY, here and below:")
	})
}
