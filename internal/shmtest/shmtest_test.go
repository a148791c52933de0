package shmtest_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

func TestMain(m *testing.M) { shmtest.Main(m) }

var echo = shmtest.Helper("echo", func(args []string) error {
	fmt.Println("ready", len(args))
	return shmtest.Replies(func(words []string) (string, error) {
		if len(words) == 0 {
			return "", errors.New("an empty line")
		}
		return strings.Join(words, "+"), nil
	})
})

func TestProcess(t *testing.T) {
	p := shmtest.Start(t, echo, "a", "b c")
	p.Expect("ready 2")
	p.Say("x y")
	if got := p.Line(); got != "x+y" {
		t.Errorf("Line returned %q", got)
	}
	p.Do("z", "z")
	if got := p.Ask("1 2 3"); got != "1+2+3" {
		t.Errorf("Ask returned %q", got)
	}
	p.Wait()

	p = shmtest.Start(t, echo)
	p.Expect("ready 0")
	p.Kill()
	if line, ok := p.Next(); ok {
		t.Errorf("Next returned %q after Kill", line)
	}
	p.Kill() // again, as the test's end does
}

func TestProcessFails(t *testing.T) {
	var complaints strings.Builder
	p := shmtest.StartCmd(t, echo, func(cmd *exec.Cmd) { cmd.Stderr = &complaints })
	p.Expect("ready 0")
	p.Say("")
	var exit *exec.ExitError
	if err := p.End(); !errors.As(err, &exit) || exit.ExitCode() != 1 || complaints.String() != "helper echo: an empty line\n" {
		t.Errorf("End returned %v after %q", err, complaints.String())
	}
	for what, f := range map[string]func(t shmtest.TB){
		"has ended":    func(t shmtest.TB) { p := shmtest.Start(t, echo); p.Expect("ready 0"); p.Kill(); p.Line() },
		"another line": func(t shmtest.TB) { shmtest.Start(t, echo).Expect("set") },
		"no helper":    func(t shmtest.TB) { shmtest.Start(t, "none") },
		"no program":   func(t shmtest.TB) { shmtest.StartProgram(t, exec.Command("/nowhere")) },
	} {
		if message := fatal(t, f); message == "" {
			t.Errorf("%s: the test goes on", what)
		}
	}
}

var reader = shmtest.Helper("reader", func([]string) error {
	b := make([]byte, 5)
	n, err := os.NewFile(3, "inherited").ReadAt(b, 0)
	fmt.Println(string(b[:n]))
	return err
})

func TestStartWithFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no file is inherited")
	}
	path := filepath.Join(t.TempDir(), "file")
	shmtest.WriteFile(t, path, []byte("bytes"))
	p := shmtest.StartWithFiles(t, reader, shmtest.Opened(os.Open(path))(t))
	p.Expect("bytes")
	p.Wait()
}

// recorder is a test that Fatal ends in a goroutine of its own.
type recorder struct {
	shmtest.TB
	message  string
	cleanups []func()
}

func (r *recorder) Fatal(args ...any) { r.message = fmt.Sprint(args...); runtime.Goexit() }
func (r *recorder) Fatalf(format string, args ...any) {
	r.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

// fatal returns what f ends its test with, "" if it does not.
func fatal(t *testing.T, f func(shmtest.TB)) string {
	r, done := &recorder{TB: t}, make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
	return r.message
}

func TestMust(t *testing.T) {
	if got := shmtest.Must(7, nil)(t); got != 7 {
		t.Errorf("Must returned %d", got)
	}
	if got := fatal(t, func(t shmtest.TB) { shmtest.Must(7, fs.ErrInvalid)(t) }); got != "invalid argument" {
		t.Errorf("Must ended the test with %q", got)
	}
	if got := fatal(t, func(t shmtest.TB) { shmtest.Opened(os.Open("missing"))(t) }); !strings.Contains(got, "missing") {
		t.Errorf("Opened ended the test with %q", got)
	}
	var f *os.File
	fatal(t, func(t shmtest.TB) { f = shmtest.Opened(os.Open("."))(t) })
	if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("the file that was opened closes with %v", err)
	}
	if err := shmtest.Error(os.Stat("missing")); !errors.Is(err, fs.ErrNotExist) || !shmtest.IsPathError(err, "missing") ||
		shmtest.IsPathError(err, "other") || shmtest.IsPathError(fmt.Errorf("%w", err), "missing") {
		t.Errorf("Error returned %v", err)
	}
	if got := shmtest.Panic(func() { panic("at the disco") }); got != "at the disco" {
		t.Errorf("Panic returned %v", got)
	}
	if got := shmtest.Panic(func() {}); got != nil {
		t.Errorf("Panic returned %v", got)
	}
}

func TestWaiting(t *testing.T) {
	n := 0
	shmtest.Eventually(t, "the third time", func() bool { n++; return n == 3 })
	shmtest.Within(t, "nothing", func() { n++ })
	shmtest.Watchdog(t)("nothing")
	if n != 4 {
		t.Errorf("called %d times", n)
	}
}

func TestNames(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there are no segments here")
	}
	var name string
	fatal(t, func(t shmtest.TB) {
		name = shmtest.Name(t)
		if name == shmtest.Name(t) {
			t.Fatal("twice the same name")
		}
		shmtest.WriteFile(t, sys.Path(name), nil)
		if !shmtest.SharedNames()[name] {
			t.Fatal("the file is not listed")
		}
	})
	if shmtest.SharedNames()[name] {
		t.Error("the file is still there after its test")
	}
}

// TestMainFindsWhatIsLeft runs itself again with the name of a file to leave.
func TestMainFindsWhatIsLeft(t *testing.T) {
	const variable = "SHM_TEST_LEAVE"
	if runtime.GOOS != "linux" {
		t.Skip("there are no segments here")
	}
	if os.Getenv(variable) != "" {
		path := sys.Path(shmtest.Name(t) + "-left")
		shmtest.WriteFile(t, path, nil)
		fmt.Println(path)
		return
	}
	cmd := exec.Command(shmtest.Must(os.Executable())(t), "-test.run=^TestMainFindsWhatIsLeft$")
	cmd.Env = append(os.Environ(), variable+"=1")
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	path, rest, _ := strings.Cut(string(out), "\n")
	if e := os.Remove(path); e != nil {
		t.Fatalf("%v\n%s", e, out)
	}
	if err == nil || !strings.Contains(rest, "PASS") || !strings.Contains(complaints.String(), filepath.Base(path)) {
		t.Errorf("the test binary ended with %v, %q and %q", err, out, complaints.String())
	}
}

func TestPrograms(t *testing.T) {
	flag := shmtest.Overlay(t, map[string]string{"overlaid/main.go": "package main\n\nfunc main() { print(\"in Go\") }\n"})
	program := shmtest.GoProgram(t, "example.org/shm/overlaid", flag)
	if out := shmtest.Must(exec.Command(program).CombinedOutput())(t); string(out) != "in Go" {
		t.Errorf("it printed %q", out)
	}
	if again := shmtest.GoProgram(t, "example.org/shm/overlaid", flag); again != program {
		t.Errorf("built as %s and as %s", program, again)
	}
}

func TestCPrograms(t *testing.T) {
	source := filepath.Join(t.TempDir(), "program.c")
	shmtest.WriteFile(t, source, []byte("#include <stdio.h>\nint main(void) { return puts(WORDS) < 0; }\n"))
	for _, words := range []string{"in C", "in C"} {
		program := shmtest.CProgram(t, "-DWORDS=\""+words+"\"", source)
		if out := shmtest.Must(exec.Command(program).Output())(t); string(out) != words+"\n" {
			t.Errorf("it printed %q", out)
		}
	}
}

func TestPythons(t *testing.T) {
	first := shmtest.Python(t, shmtest.PythonShm)
	out, err := first.Command("-c", "import sys, shm; print(sys.version.split()[0], sys.executable)").CombinedOutput()
	version, executable, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if err != nil || version != first.Version {
		t.Fatalf("%+v: %v\n%s", first, err, out)
	}
	t.Setenv("PATH", filepath.Dir(executable)) // All others would take time.
	for _, needs := range []string{shmtest.PythonShm, shmtest.PythonMultiprocessing} {
		t.Run("", func(t *testing.T) {
			if all := shmtest.Pythons(t, needs); all[0].Version != version {
				t.Errorf("%+v, the first one has version %s", all, version)
			}
		})
	}
	if _, err := shmtest.FindPython("sys.exit('because')"); err == nil || !strings.Contains(err.Error(), "python3 is of no use: exit status 1: because") {
		t.Errorf("no interpreter is of use: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := shmtest.FindPython("pass"); err == nil || !strings.Contains(err.Error(), "needs python3") {
		t.Errorf("there is no interpreter: %v", err)
	}
}

func TestUnusedHelpers(t *testing.T) {
	dir := t.TempDir()
	shmtest.WriteFile(t, filepath.Join(dir, "a_test.go"), []byte("package a\n\n"+
		"// unused is declared here.\nvar unused = shmtest.Helper(\"unused\", nil)\n\nvar used = shmtest.Helper(\"used\", nil)\n"))
	shmtest.WriteFile(t, filepath.Join(dir, "b_test.go"), []byte("package a\n\nfunc TestUsed() { start(used) /* unused */ }\n"))
	if n, unused, err := shmtest.UnusedHelpers(dir); err != nil || n != 2 || !slices.Equal(unused, []string{"unused"}) {
		t.Errorf("%d helpers, unused %q: %v", n, unused, err)
	}
	shmtest.Root(t)
	if n, unused, err := shmtest.UnusedHelpers("."); err != nil || n < 3 || len(unused) > 0 {
		t.Errorf("%d helpers, unused %q: %v", n, unused, err)
	}
}

func TestInHelper(t *testing.T) {
	if shmtest.InHelper.Context() != context.Background() {
		t.Error("a context of its own")
	}
}
