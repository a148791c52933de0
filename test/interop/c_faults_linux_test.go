package interop_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"example.org/shm/internal/shmtest"
)

// cFaults compiles testdata/c/faults.c, or skips the test if there is no compiler.
func cFaults(t *testing.T, flags ...string) (program string) {
	t.Helper()
	header := filepath.Join(shmtest.Root(t), "c")
	source := filepath.Join("testdata", "c", "faults.c")
	shmtest.Must(os.Stat(filepath.Join(header, "shm.h")))(t) // go test does not see that gcc reads them.
	shmtest.Must(os.Stat(source))(t)
	args := append([]string{"-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I", header}, flags...)
	return shmtest.CProgram(t, append(args, source)...)
}

// What c/shm.h does beside faults of other processes, of the program and of the
// system. The modes of faults.c say what each of them is.
func TestCFaults(t *testing.T) {
	program := cFaults(t)
	for _, mode := range []string{"grown", "refused", "cancelled", "closed", "unprivileged", "blocked", "trusted", "dump", "gives back"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			runCFaults(t, program, mode, shmtest.Name(t))
		})
	}
	t.Run("creation", func(t *testing.T) {
		t.Parallel()
		runCFaults(t, program, "creation", t.TempDir())
	})
}

func runCFaults(t *testing.T, program, mode, name string) {
	t.Helper()
	const skipped = 77
	out, err := exec.Command(program, mode, name).CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == skipped {
		t.Skipf("%s", out)
	}
	if err != nil {
		t.Fatalf("faults.c %s: %v\n%s", mode, err, out)
	}
}
