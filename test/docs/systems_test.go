package docs_test

import (
	"go/build/constraint"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.org/shm/internal/shmtest"
)

// systemTags has the directories outside of internal/sys whose files may be for one
// system, and why. The library has none.
var systemTags = map[string]string{
	"internal/ratios":           "a command that measures on Linux",
	"internal/shmtest":          "tests: users, namespaces and filters of system calls",
	"internal/mem/memtest":      "tests: whether a thread sleeps",
	"test/agent":                "tests: a process that is told what to do",
	"cmd/shm/internal/bench":    "the tool: processors and other kinds of locks",
	"cmd/shm/internal/doctor":   "the tool: what it looks at is the system itself",
	"cmd/shm/internal/proc":     "the tool: who maps a file; no program that shares memory asks that",
	"cmd/shm/internal/segments": "the tool: which file a name has",
	"examples/...":              "programs to copy from: descriptors and signals",
}

// system matches what a build constraint, or the end of a file's name, has of a system.
var system = regexp.MustCompile(`^(aix|android|darwin|dragonfly|freebsd|illumos|ios|js|linux|netbsd|openbsd|plan9|shmportable|solaris|unix|wasip1|windows)$`)

// TestSystems checks that only internal/sys has files for one system, tests aside.
func TestSystems(t *testing.T) {
	used := map[string]bool{}
	for _, name := range files(t) {
		dir := path.Dir(name)
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || dir == "internal/sys" || strings.HasPrefix(dir, "internal/sys/") {
			continue
		}
		tag := systemOf(name, string(shmtest.Must(os.ReadFile(filepath.Join(shmtest.Root(t), name)))(t)))
		if tag == "" {
			continue
		}
		found := false
		for allowed := range systemTags {
			if matches(allowed, dir) {
				used[allowed], found = true, true
			}
		}
		if !found {
			t.Errorf("%s is for %s: what differs between systems belongs into internal/sys", name, tag)
		}
	}
	for dir := range systemTags {
		if !used[dir] {
			t.Errorf("%s has no file for one system any more: take it out of the table", dir)
		}
	}
}

// systemOf returns a system of which a file's name or build constraint speaks, or "".
func systemOf(name, text string) string {
	words := strings.Split(strings.TrimSuffix(path.Base(name), ".go"), "_")
	for _, w := range words[1:] {
		if system.MatchString(w) && w != "unix" && w != "shmportable" { // names do not constrain these
			return w
		}
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "package ") {
			break
		}
		if !constraint.IsGoBuild(line) {
			continue
		}
		expr, err := constraint.Parse(line)
		if err != nil {
			return err.Error()
		}
		var tags []string
		expr.Eval(func(tag string) bool {
			tags = append(tags, tag)
			return false
		})
		expr.Eval(func(tag string) bool { // the other branches
			tags = append(tags, tag)
			return true
		})
		if i := slices.IndexFunc(tags, system.MatchString); i >= 0 {
			return tags[i]
		}
	}
	return ""
}

func TestSystemOf(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"a/b_linux.go", "package b\n", "linux"},
		{"a/b_windows_amd64.go", "package b\n", "windows"},
		{"a/linux.go", "package b\n", ""},
		{"a/b_unix.go", "package b\n", ""},
		{"a/b_unix.go", "//go:build unix\n\npackage b\n", "unix"},
		{"a/b.go", "//go:build !(amd64 || s390x)\n\npackage b\n", ""},
		{"a/b.go", "//go:build race && !linux\n\npackage b\n", "linux"},
		{"a/b.go", "//go:build killpoints\n\npackage b\n\n//go:build linux\n", ""},
	} {
		if got := systemOf(c.name, c.text); got != c.want {
			t.Errorf("%s, %q: %q, want %q", c.name, c.text, got, c.want)
		}
	}
}
