//go:build linux

package shm_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"example.org/shm/internal/shmtest"
)

// The race detector learns what the locks order, and sees unsynchronised access to
// what is shared: it reports the wrong programs of testdata/race, and not the right
// ones.
func TestRaceDetector(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	t.Parallel()
	tool := shmtest.Tool(t, "go")
	if out, err := exec.Command(tool, "list", "-race", ".").CombinedOutput(); err != nil {
		t.Skipf("no race detector here: %v\n%s", err, out)
	}
	compiler := strings.Fields(string(shmtest.Must(exec.Command(tool, "env", "CC").Output())(t)))
	shmtest.Tool(t, compiler[0])
	program := shmtest.GoProgram(t, "./testdata/race", "-race")
	list, err := exec.Command(program).Output()
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Split(strings.TrimSpace(string(list)), "\n")
	if len(names) < 10 {
		t.Fatalf("only %d programs", len(names))
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(program, name)
			cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0 history_size=7") // with a short history it forgets where an access was, and does not report it
			out, err := cmd.CombinedOutput()
			reported := strings.Contains(string(out), "DATA RACE")
			if wrong := strings.HasPrefix(name, "wrong: "); reported != wrong {
				t.Errorf("reported: %v (%v)\n%s", reported, err, out)
			}
			if reported {
				wantLines(t, string(out))
			}
			if !reported && err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// wantLines checks that each access of the first report is shown with the line of the
// program that makes it.
func wantLines(t *testing.T, out string) {
	t.Helper()
	_, report, _ := strings.Cut(out, "WARNING: DATA RACE\n")
	accesses, _, _ := strings.Cut(report, "\nGoroutine ")
	stacks := strings.Split(accesses, "\n\n")[:2]
	line := regexp.MustCompile(`main\.init\.func\d+\.\d+\(\)\n\s+\S*testdata/race/main\.go:\d+`) // a function literal of a program, not what calls it
	for _, stack := range stacks {
		if !line.MatchString(stack) {
			t.Errorf("an access without the program's line:\n%s", stack)
		}
	}
}
