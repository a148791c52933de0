package interop_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
)

// cProgram compiles a program of testdata/c, or skips the test if there is no
// compiler.
func cProgram(t *testing.T, file string, flags ...string) (program string) {
	t.Helper()
	header := filepath.Join(shmtest.Root(t), "c")
	source := filepath.Join("testdata", "c", file)
	shmtest.Must(os.Stat(filepath.Join(header, "shm.h")))(t) // go test does not see that gcc reads them.
	shmtest.Must(os.Stat(source))(t)
	args := append([]string{"-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I", header}, flags...)
	return shmtest.CProgram(t, append(args, source)...)
}

// What c/shm.h does beside faults of other processes, of the program and of the
// system. The modes of faults.c say what each of them is.
func TestCFaults(t *testing.T) {
	program := cProgram(t, "faults.c")
	for _, mode := range []string{
		"grown", "refused", "cancelled", "closed", "signals", "unprivileged", "blocked", "trusted", "dump", "gives back",
		"indexes", "full", "completes", "repairs", "waits briefly", "power", "killed", "threads", "stdio",
		"second ways",
	} {
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

// The modes that read what is damaged, and those in which threads meet, with the
// sanitizers of the compiler.
func TestCFaultsSanitized(t *testing.T) {
	for sanitizers, modes := range map[string][]string{
		"address,undefined": {"grown", "indexes", "completes", "repairs", "power"}, "thread": {"threads"},
	} {
		flags := []string{"-O1", "-g", "-w", "-fsanitize=" + sanitizers, "-fno-sanitize-recover=all"}
		t.Run(sanitizers, func(t *testing.T) {
			probe := exec.Command(shmtest.Tool(t, "gcc"), append(flags, "-o", filepath.Join(t.TempDir(), "probe"), "-x", "c", "-")...)
			probe.Stdin = strings.NewReader("int main(void) { return 0; }")
			if out, err := probe.CombinedOutput(); err != nil {
				t.Skipf("the compiler has no such sanitizers: %s", out)
			}
			for _, mode := range modes {
				runCFaults(t, cProgram(t, "faults.c", flags...), mode, shmtest.Name(t))
			}
		})
	}
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

// The list of a file's values that decode.c prints is that of Entries.
func TestCDecode(t *testing.T) {
	name, empty := shmtest.Name(t), filepath.Join(t.TempDir(), "empty")
	visit(t, name, 0)
	s := shmtest.Opened(shm.Open(name, nil))(t)
	shmtest.Must(shm.NewStruct(s, "grows", cStatus{}))(t)
	shmtest.Must(shm.NewStruct(s, "grows", cLonger{}))(t)
	shmtest.WriteFile(t, empty, nil)
	want := "ok\n"
	for e := range s.Entries() {
		kind := format.KindSingle
		switch {
		case e.Layout.Format == "":
			kind = format.KindMutex
		case strings.HasSuffix(e.Layout.Format, "c") && e.Len > 0:
			kind = format.KindChars
		case e.Len > 0:
			kind = format.KindArray
		}
		want += fmt.Sprintf("value\t%s\t%d\t%d\t%d\t%s\t%d\n", e.Name, kind, e.Access, e.Len, e.Layout.Format, e.Layout.Size)
	}
	want += "end\nrefused: format\nrefused: system\n"
	cmd := exec.Command(cProgram(t, "decode.c"))
	cmd.Stdin = strings.NewReader(shm.Path(name) + "\n" + empty + "\n" + empty + " that is not there\n")
	if got := string(shmtest.Must(cmd.Output())(t)); got != want {
		t.Fatalf("decode.c prints\n%s\nwant\n%s", got, want)
	}
}
