package docs_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"example.org/shm/internal/shmtest"
)

// cpythonCases returns the rows of docs/sharedctypes-tests.md: the names of the Go
// tests and the remark, by class and case.
func cpythonCases(t *testing.T) map[string][2]string {
	t.Helper()
	rows := map[string][2]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+\\.\\w+)` \\|(.*)\\|(.*)\\|$").FindAllStringSubmatch(read(t, "docs/sharedctypes-tests.md"), -1) {
		if _, twice := rows[m[1]]; twice {
			t.Errorf("%s has two rows", m[1])
		}
		rows[m[1]] = [2]string{m[2], strings.TrimSpace(m[3])}
	}
	return rows
}

// TestCPythonCases compares the list of CPython's cases with the tests that it
// names, and with the cases of the installed CPython.
func TestCPythonCases(t *testing.T) {
	tests := map[string]bool{}
	for _, source := range filesNamed(t, "_test.go") {
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`).FindAllStringSubmatch(read(t, source), -1) {
			tests[m[1]] = true
		}
	}
	rows := cpythonCases(t)
	for name, row := range rows {
		named := regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[0], -1)
		for _, m := range named {
			if !tests[m[1]] {
				t.Errorf("%s: there is no test %s", name, m[1])
			}
		}
		if len(named) == 0 && row[1] == "" {
			t.Errorf("%s has neither a test nor a remark", name)
		}
	}
	if len(rows) < 30 {
		t.Errorf("only %d cases", len(rows))
	}
	t.Run("installed", func(t *testing.T) { installedCases(t, rows) })
}

// installedCases checks that the list has each case of its classes, and each class
// that is about shared memory. It may have cases of other versions of CPython.
func installedCases(t *testing.T, rows map[string][2]string) {
	python := shmtest.Python(t, "")
	out, err := python.Command("-c", "import importlib.util; print(importlib.util.find_spec('test._test_multiprocessing').origin)").Output()
	if err != nil {
		t.Skip("this Python was installed without its tests: ", err)
	}
	known := map[string]bool{}
	for name := range rows {
		class, _, _ := strings.Cut(name, ".")
		known[class] = true
	}
	file := strings.TrimSpace(string(out))
	source := shmtest.Must(os.ReadFile(file))(t)
	ours := regexp.MustCompile("(?i)value|array|heap|ctypes|sharedmem|shareable")
	class, found := "", 0
	for _, m := range regexp.MustCompile(`(?m)^class (\w+)|^    def (test\w*)\(`).FindAllStringSubmatch(string(source), -1) {
		if m[1] != "" {
			if class = m[1]; !known[class] && ours.MatchString(class) {
				t.Errorf("class %s is not in docs/sharedctypes-tests.md", class)
			}
		} else if known[class] {
			found++
			if _, ok := rows[class+"."+m[2]]; !ok {
				t.Errorf("%s.%s is not in docs/sharedctypes-tests.md", class, m[2])
			}
		}
	}
	if found < 20 {
		t.Errorf("%s has only %d of the cases", file, found)
	}
}
