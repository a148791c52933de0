//go:build linux

package shm

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The race detector is told what the locks order, and of unsynchronised access
// to what is shared: it reports the wrong programs of testdata/race, and says
// nothing of the right ones.
func TestRaceDetector(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	program := filepath.Join(t.TempDir(), "race")
	build := exec.Command("go", "build", "-race", "-o", program, "./testdata/race")
	if out, err := build.CombinedOutput(); err != nil {
		if _, err := exec.LookPath("go"); err != nil || strings.Contains(string(out), "-race requires cgo") || strings.Contains(string(out), "-race is not supported") || strings.Contains(string(out), "C compiler") {
			t.Skipf("no race detector here: %s", out)
		}
		t.Fatalf("%v\n%s", err, out)
	}
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
			cmd := exec.Command(program, name)
			cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
			out, err := cmd.CombinedOutput()
			reported := strings.Contains(string(out), "DATA RACE")
			if wrong := strings.HasPrefix(name, "wrong: "); reported != wrong {
				t.Errorf("reported: %v (%v)\n%s", reported, err, out)
			}
			if !reported && err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
