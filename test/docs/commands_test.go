package docs_test

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.org/shm/internal/shmtest"
)

// commands returns the commands that a document shows, in code spans and in lines
// of code.
func commands(text string) (all []string) {
	fenced := regexp.MustCompile("(?s)```(\\w*)\n(.*?)```")
	for _, m := range fenced.FindAllStringSubmatch(text, -1) {
		if m[1] == "" || m[1] == "sh" {
			all = append(all, strings.Split(m[2], "\n")...)
		}
	}
	for line := range strings.Lines(fenced.ReplaceAllString(text, "")) {
		if code, ok := strings.CutPrefix(line, "    "); ok {
			all = append(all, code)
			continue
		}
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(line, -1) {
			all = append(all, m[1])
		}
	}
	return all
}

// words splits a command as a shell does, up to a comment or the next command.
func words(command string) (all []string) {
	for _, m := range regexp.MustCompile(`'([^']*)'|"([^"]*)"|([#|;&>])|([^\s#|;&>'"]+)`).FindAllStringSubmatch(command, -1) {
		if m[3] != "" {
			break
		}
		all = append(all, m[1]+m[2]+m[4])
	}
	return all
}

// TestCommands checks that the documents' commands name packages, tests, benchmarks,
// targets and scripts that exist.
func TestCommands(t *testing.T) {
	targets := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z0-9]+):`).FindAllStringSubmatch(read(t, "Makefile"), -1) {
		targets[m[1]] = true
	}
	checked := 0
	for _, doc := range filesNamed(t, ".md") {
		for _, command := range commands(read(t, doc)) {
			w := words(command)
			if len(w) == 0 {
				continue
			}
			var err error
			switch {
			case w[0] == "make":
				for _, target := range w[1:] {
					if !strings.Contains(target, "=") && !targets[target] {
						err = fmt.Errorf("the Makefile has no target %s", target)
					}
				}
			case w[0] == "go" && len(w) > 1 && slices.Contains([]string{"run", "build", "test", "vet"}, w[1]):
				err = checkGo(t, w[1], w[2:])
			case strings.HasPrefix(w[0], ".ci/"), strings.HasPrefix(w[0], "docs/model/") && path.Ext(w[0]) == "":
				_, err = os.Stat(filepath.Join(shmtest.Root(t), w[0]))
			default:
				continue
			}
			checked++
			if err != nil {
				t.Errorf("%s: %s: %v", doc, command, err)
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d commands were found", checked)
	}
}

// checkGo checks the packages of a go command, and what go test runs in them.
func checkGo(t *testing.T, verb string, args []string) error {
	var patterns []string
	var selected [][2]string // the prefix of functions, and a regular expression
	for i, arg := range args {
		switch {
		case arg == "." || strings.HasPrefix(arg, "./"):
			patterns = append(patterns, path.Clean(arg))
		case arg == "-run" && i+1 < len(args):
			selected = append(selected, [2]string{"(?:Test|Example|Fuzz)", args[i+1]})
		case arg == "-bench" && i+1 < len(args):
			selected = append(selected, [2]string{"Benchmark", args[i+1]})
		}
	}
	if len(patterns) == 0 {
		if verb != "test" {
			return nil // of another module, or not a whole command
		}
		patterns = []string{"."}
	}
	tests := ""
	for _, pattern := range patterns {
		found := false
		dir, below := strings.CutSuffix(pattern, "...")
		dir = path.Clean(dir)
		for _, name := range filesNamed(t, ".go", "testdata") {
			if path.Dir(name) != dir && !(below && (dir == "." || strings.HasPrefix(name, dir+"/"))) {
				continue
			}
			found = true
			if strings.HasSuffix(name, "_test.go") {
				tests += read(t, name)
			}
		}
		if !found {
			return fmt.Errorf("there is no package %s", pattern)
		}
	}
	for _, s := range selected {
		if s[1] == "^$" {
			continue
		}
		first, _, _ := strings.Cut(s[1], "/")
		functions := regexp.MustCompile(`(?m)^func (`+s[0]+`\w*)\(`).FindAllStringSubmatch(tests, -1)
		for alternative := range strings.SplitSeq(first, "|") {
			expression, err := regexp.Compile(alternative)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(functions, func(m []string) bool { return expression.MatchString(m[1]) }) {
				return fmt.Errorf("no function matches %s", alternative)
			}
		}
	}
	return nil
}
