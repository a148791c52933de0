package interop_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"example.org/shm/internal/shmtest"
)

// cFunctions returns the names of the functions that c/shm.h has for its users, those of
// the types of numbers with a T.
func cFunctions(t *testing.T, header string) (names []string) {
	t.Helper()
	seen := map[string]bool{}
	add := func(name string) {
		name = strings.ReplaceAll(name, "##T##", "T")
		name = strings.TrimSuffix(strings.ReplaceAll(name, "##T", "T"), "##")
		if !strings.HasSuffix(name, "_") && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^\t?(?:SHM_USE_ |SHM_SLOW_ |static |inline )+[a-z].*?\b(shm_[a-zA-Z0-9_#]+)\(`).FindAllStringSubmatch(header, -1) {
		add(m[1])
	}
	if len(names) < 90 {
		t.Fatalf("only %d functions were found: %q", len(names), names)
	}
	return names
}

// The manual at the top of c/shm.h and the table in c/README.md name every function.
func TestCManual(t *testing.T) {
	dir := filepath.Join(shmtest.Root(t), "c")
	header := string(shmtest.Must(os.ReadFile(filepath.Join(dir, "shm.h")))(t))
	readme := string(shmtest.Must(os.ReadFile(filepath.Join(dir, "README.md")))(t))
	api := strings.Index(header, "/* ---- The API ----")
	manual := header[api : api+strings.Index(header[api:], "*/")]
	names := cFunctions(t, header)
	for _, name := range names {
		word := regexp.MustCompile(`\b` + name + `\b`)
		if !word.MatchString(manual) {
			t.Errorf("the manual of c/shm.h does not have %s", name)
		}
		if !word.MatchString(readme) && !strings.HasSuffix(name, "_at") {
			t.Errorf("c/README.md does not have %s", name)
		}
	}
	for _, m := range regexp.MustCompile(`\bshm_[a-zA-Z0-9_]+`).FindAllString(readme, -1) {
		if known := strings.ReplaceAll(header, "_##T##", "_T"); !regexp.MustCompile(`\b` + strings.Replace(m, "_i64", "_T", 1) + `\b`).MatchString(strings.ReplaceAll(known, "##T", "T")) {
			t.Errorf("c/README.md names %s, which is not in the header", m)
		}
	}
}

// The programs in c/README.md compile without warnings. The first one is example.c.
func TestCReadme(t *testing.T) {
	dir := filepath.Join(shmtest.Root(t), "c")
	readme := string(shmtest.Must(os.ReadFile(filepath.Join(dir, "README.md")))(t))
	blocks := regexp.MustCompile("(?s)```c\n(.*?)```\n").FindAllStringSubmatch(readme, -1)
	if len(blocks) < 6 {
		t.Fatalf("only %d programs", len(blocks))
	}
	example := string(shmtest.Must(os.ReadFile(filepath.Join(dir, "example.c")))(t))
	if !strings.HasSuffix(example, blocks[0][1]) {
		t.Errorf("c/example.c does not end with the program of the page:\n%s", blocks[0][1])
	}
	text := "#include \"shm.h\"\n"
	for i, m := range blocks[1:] {
		// What is inside a function begins with a declaration after the last empty line that
		// follows the end of a function or a macro.
		outside, inside := "", m[1]
		if at := strings.LastIndex(inside, "}\n\n"); strings.HasPrefix(inside, "static ") && at >= 0 {
			outside, inside = inside[:at+3], inside[at+3:]
		}
		text += fmt.Sprintf("%sint program%d(shm_segment *seg);\nint program%d(shm_segment *seg)\n{\n%s\treturn err;\n}\n", outside, i, i, inside)
	}
	text += "int main(void)\n{\n\tshm_segment *seg;\n\tif (shm_anonymous(&seg, NULL) != 0)\n\t\treturn 1;\n"
	for i, m := range blocks[1:] {
		if !strings.Contains(m[1], "shm_await(") && !strings.Contains(m[1], "execv(") { // those wait for others
			text += fmt.Sprintf("\tif (program%d(seg) != 0)\n\t\treturn %d;\n", i, i+2)
		}
	}
	source := filepath.Join(t.TempDir(), "readme.c")
	shmtest.WriteFile(t, source, []byte(text+"\tshm_detach(seg);\n\treturn 0;\n}\n"))
	program := shmtest.CProgram(t, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pthread", "-I", dir, source)
	if out, err := exec.Command(program).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
