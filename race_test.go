//go:build linux

package shm_test

import (
	"os"
	"os/exec"
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
			cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
			out, err := cmd.CombinedOutput()
			reported := strings.Contains(string(out), "DATA RACE")
			if wrong := strings.HasPrefix(name, "wrong: "); reported != wrong {
				t.Errorf("reported: %v (%v)\n%s", reported, err, out)
			}
			// Both accesses are shown with the line of the program that makes them.
			if strings.Contains(name, "Raw") || strings.Contains(name, "CharArray") {
				for report := range strings.SplitSeq(string(out), "WARNING: DATA RACE") {
					access, _, _ := strings.Cut(report, "\nGoroutine ")
					if reported && strings.Contains(access, "revious") && strings.Count(access, "testdata/race/main.go:") < 2 {
						t.Errorf("a report without the program's lines:\n%s", report)
					}
				}
			}
			if !reported && err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
