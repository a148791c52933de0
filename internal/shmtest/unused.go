package shmtest

import (
	"fmt"
	"go/scanner"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
)

var declaration = regexp.MustCompile(`(?m)^var (\w+)\s*= (?:shmtest\.)?Helper\(`)

// UnusedHelpers returns how many helpers the test files of a directory declare,
// and the variables of those that these files do not mention again. It reads the
// sources, because the test that starts a helper may be skipped on this machine.
func UnusedHelpers(dir string) (declared int, unused []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return 0, nil, err
	}
	var variables []string
	uses := map[string]int{}
	for _, name := range files {
		source, err := os.ReadFile(name)
		if err != nil {
			return 0, nil, err
		}
		for _, m := range declaration.FindAllSubmatch(source, -1) {
			variables = append(variables, string(m[1]))
		}
		var s scanner.Scanner
		s.Init(token.NewFileSet().AddFile(name, -1, len(source)), source, nil, 0)
		for tok := token.ILLEGAL; tok != token.EOF; {
			var word string
			if _, tok, word = s.Scan(); tok == token.IDENT {
				uses[word]++
			}
		}
		if s.ErrorCount > 0 {
			return 0, nil, fmt.Errorf("%s: not Go", name)
		}
	}
	for _, v := range variables {
		if uses[v] < 2 { // One is the declaration.
			unused = append(unused, v)
		}
	}
	return len(variables), unused, nil
}
