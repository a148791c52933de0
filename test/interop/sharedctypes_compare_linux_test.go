package interop_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"example.org/shm/internal/shmtest"
)

// better lists failures of multiprocessing.sharedctypes. Each script of
// testdata/sharedctypes shows one of them in the installed CPython, and prints a
// line that matches theirs. ours does the same with shm and returns what happens.
var better = []struct {
	what, script, theirs string
	ours                 func(t *testing.T) string
}{
	{"a holder is killed", "killed", `^the next waits for ever `, afterKilledHolder},
	{"a holder is stopped", "stopped", `^a reader waits `, besideStoppedHolder},
	{"killed in mid-change", "halfway", `^x = 2 beside y = 1, and nobody is told$`, afterHalfAChange},
	{"two do v.value += 1", "lost", `^lost [1-9][\d,]* of 40,000$`, afterManyAdditions},
	{"a struct read while written", "torn", `^x = [\d,]+ beside y = `, besideWriter},
	{"a slice assignment fails", "failed", `^\[1, 2, 0\]: two of three written$`, afterFailedChange},
	{"/dev/shm is full", "full", `^killed by SIGBUS$`, onFullFilesystem},
	{"freed, and a child uses it", "reused", `^666 .* 10 into 666$`, afterClose},
	{"two disagree about a type", "mistaken", `^1.5 is read as 4,609,`, withAnotherType},
}

// rare is what a script prints if it did not see the failure in its time, because
// that is likely but not certain.
const rare = "not seen in 20 s"

// TestBetter compares CPython and shm. With -v it prints a table, which
// docs/sharedctypes.md shows.
func TestBetter(t *testing.T) {
	t.Parallel()
	python := shmtest.Python(t, shmtest.PythonMultiprocessing)
	rows := make([]string, len(better))
	t.Run("case", func(t *testing.T) {
		for i, b := range better {
			t.Run(b.script, func(t *testing.T) {
				t.Parallel()
				theirs := runScript(t, python, b.script)
				if theirs == rare {
					t.Logf("%s: %s with CPython", b.what, rare)
				} else if !regexp.MustCompile(b.theirs).MatchString(theirs) {
					t.Errorf("%s: CPython: %q", b.what, theirs)
				}
				rows[i] = b.what + "\t" + theirs + "\t" + b.ours(t)
			})
		}
	})
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\t%s\there\n", shmtest.Must(python.Command("-c", "import platform; print(platform.python_implementation(), platform.python_version(), end='')").Output())(t))
	for _, row := range rows {
		if row != "" { // not skipped
			fmt.Fprintln(w, row)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(t.Output(), table.String())
	page := string(shmtest.Must(os.ReadFile(sharedctypesPage(t)))(t))
	_, page, _ = strings.Cut(page, "<!-- better -->\n\n")
	page, _, _ = strings.Cut(page, "\n\n")
	shown := map[string]bool{}
	for line := range strings.Lines(page) {
		shown[withoutNumbers(line)] = true
	}
	for line := range strings.Lines(table.String()) {
		if line = withoutNumbers(line); !shown[line] && !strings.Contains(line, withoutNumbers(rare)) {
			t.Errorf("docs/sharedctypes.md does not show %q", line)
		}
	}
	if len(shown) != len(better)+1 {
		t.Errorf("docs/sharedctypes.md shows %d lines for %d cases and a head", len(shown), len(better))
	}
}

// TestSharedctypesPython runs the Python code of docs/sharedctypes.md, and checks
// that the page's tables have all that the module of this CPython has.
func TestSharedctypesPython(t *testing.T) {
	t.Parallel()
	runScript(t, shmtest.Python(t, shmtest.PythonMultiprocessing), "page", sharedctypesPage(t))
}

func sharedctypesPage(t *testing.T) string {
	t.Helper()
	return filepath.Join(shmtest.Root(t), "docs", "sharedctypes.md")
}

// withoutNumbers returns the part of a line that is the same in each run. It leaves
// out numbers and the width of columns.
func withoutNumbers(line string) string {
	line = regexp.MustCompile(`\d[\d,.]*`).ReplaceAllString(line, "#")
	return strings.Join(strings.Fields(line), " ")
}

// runScript runs a script of testdata/sharedctypes, and returns what it prints.
func runScript(t *testing.T, python shmtest.Interpreter, script string, args ...string) string {
	t.Helper()
	args = append([]string{filepath.Join("testdata", "sharedctypes", script+".py")}, args...)
	for _, file := range args { // go test does not see that Python reads them.
		shmtest.Must(os.Stat(file))(t)
	}
	if script == "full" {
		p := shmtest.StartCmd(t, onSmall, shmtest.InNamespace(t), append([]string{python.Path}, args...)...)
		defer p.Wait()
		return p.Line()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python.Path, args...)
	cmd.WaitDelay = time.Minute // The processes that the script has started end a little later.
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

// onSmall becomes another program, which has a /dev/shm of its own of 1 MiB.
var onSmall = shmtest.Helper("onSmall", func(args []string) error {
	if err := shmtest.MountShared("1m"); err != nil {
		return err
	}
	return syscall.Exec(args[0], args, os.Environ())
})
