package interop_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// The tests of the Python package are in python/tests. They need a process in Go,
// which is this test binary again.

// TestPython runs each file of python/tests in a process of its own, with some Pythons
// of the search path, with the verbs in C and without them; see chosen. Storms are short
// with all but the first one.
func TestPython(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector sees nothing of Python")
	}
	t.Parallel()
	dir := filepath.Join(shmtest.Root(t), "python")
	sources := ""
	files := shmtest.Must(filepath.Glob(filepath.Join(dir, "tests", "*.py")))(t)
	for _, file := range files {
		sources += string(shmtest.Must(os.ReadFile(file))(t))
	}
	for _, name := range []string{pythonPeer, heir, predictor, agent.Program, storm} {
		if !strings.Contains(sources, `"`+name+`"`) {
			t.Errorf("no test in Python starts the helper %s", name)
		}
	}
	files = slices.DeleteFunc(files, func(file string) bool { return !strings.HasPrefix(filepath.Base(file), "test_") })
	if len(files) == 0 {
		t.Fatal("no tests in python/tests")
	}
	pythons := shmtest.Pythons(t, shmtest.PythonShm)
	self := shmtest.Must(os.Executable())(t)
	for _, file := range shmtest.Must(filepath.Glob(filepath.Join(dir, "shm", "*.py*")))(t) {
		shmtest.Must(os.Stat(file))(t) // go test does not see that Python reads them.
	}
	type run struct {
		name string
		done chan struct{}
		out  []byte
		err  error
	}
	var runs []*run
	few := make(chan struct{}, 4*runtime.GOMAXPROCS(0)) // More than processors, because most of them wait.
	for i, python := range chosen(t, withNative(t, pythons)) {
		length := *shmtest.StormLength
		if i > 0 {
			length /= 10
		}
		for _, file := range files {
			name := strings.TrimSuffix(filepath.Base(file), ".py")
			cmd := python.Command("-W", "error", "-m", "unittest", "-v", "tests."+name)
			cmd.Dir = python.Packages(t)
			if i == 0 {
				cmd.Env = append(cmd.Env, "SHM_TEST_FIRST=1")
			}
			cmd.Env = append(cmd.Env, "PYTHONFAULTHANDLER=1", "SHM_TEST_PEER="+self, "SHM_TEST_PREFIX="+shmtest.Name(t), fmt.Sprint("SHM_TEST_STORM=", length.Seconds()))
			r := &run{python.String() + " " + strings.TrimPrefix(name, "test_"), make(chan struct{}), nil, nil}
			runs = append(runs, r)
			go func() {
				defer close(r.done)
				few <- struct{}{}
				defer func() { <-few }()
				r.out, r.err = outputInTime(t, cmd)
			}()
		}
	}
	for _, r := range runs {
		t.Run(r.name, func(t *testing.T) {
			if <-r.done; r.err != nil {
				t.Fatalf("%v\n%s", r.err, r.out)
			}
			for _, skipped := range regexp.MustCompile(`(?m)^.*\.\.\. skipped .*$`).FindAllString(string(r.out), -1) {
				t.Log(skipped)
			}
		})
	}
}

// outputInTime returns the output of a program, and what it ended with. If half a minute
// is left for this test binary it aborts the program and the processes that this has
// started: Python and Go then print where each thread is.
func outputInTime(t *testing.T, cmd *exec.Cmd) ([]byte, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if deadline, ok := t.Deadline(); ok {
		hangs := time.AfterFunc(time.Until(deadline)-30*time.Second, func() { abort(cmd.Process.Pid) })
		defer hangs.Stop()
	}
	err := cmd.Wait()
	return out.Bytes(), err
}

// abort sends SIGABRT to a process and to those that descend from it.
func abort(pid int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		children, _ := os.ReadFile(list)
		for _, child := range strings.Fields(string(children)) {
			if child, err := strconv.Atoi(child); err == nil {
				abort(child)
			}
		}
	}
	syscall.Kill(pid, syscall.SIGABRT)
}

var whichPythons = flag.String("pythons", "few", "run the tests in Python by few interpreters, by the newest, or by all that are found, with and without the verbs in C")

// chosen returns the interpreters that TestPython takes. Few are the first one on the
// search path with the verbs in C, and the oldest one without. The newest one has the verbs
// in C. The tests take a minute for each.
func chosen(t *testing.T, all []shmtest.Interpreter) (some []shmtest.Interpreter) {
	byAge := slices.SortedStableFunc(slices.Values(all), func(a, b shmtest.Interpreter) int {
		return slices.Compare(versionNumbers(a.Version), versionNumbers(b.Version))
	})
	first := all[0]
	if len(all) > 1 && all[1].Version == first.Version {
		first = all[1]
	}
	newest := byAge[len(byAge)-1]
	switch *whichPythons {
	case "all":
		return all
	case "newest":
		return []shmtest.Interpreter{newest}
	case "few":
		return slices.DeleteFunc(all, func(p shmtest.Interpreter) bool { return p != first && p != byAge[0] })
	}
	t.Fatalf("-pythons %s: it is few, newest or all", *whichPythons)
	return nil
}

// versionNumbers returns the numbers of a version.
func versionNumbers(version string) (all []int) {
	for part := range strings.SplitSeq(version, ".") {
		n, _ := strconv.Atoi(part) // of 3.14.0rc1 the last part is 0, which is good enough
		all = append(all, n)
	}
	return all
}

// withNative returns each interpreter, followed by the same one with the verbs in C, if
// they can be compiled for it.
func withNative(t testing.TB, pythons []shmtest.Interpreter) (all []shmtest.Interpreter) {
	t.Helper()
	for _, python := range pythons {
		all = append(all, python)
		native, err := python.Native()
		switch {
		case err == nil:
			all = append(all, native)
		case errors.Is(err, shmtest.ErrBroken):
			t.Error(err)
		default:
			t.Log(err)
		}
	}
	return all
}

// TestPythonInstalls installs the package as a user does, in each Python on the
// search path, without a network and without setuptools. It installs a copy,
// because pip may write files beside it.
func TestPythonInstalls(t *testing.T) {
	t.Parallel()
	for _, python := range shmtest.Pythons(t, shmtest.PythonShm) {
		t.Run(python.Version, func(t *testing.T) {
			t.Parallel()
			if err := python.Command("-c", "import pip, venv").Run(); err != nil {
				t.Skip("it has no pip and venv")
			}
			installs(t, python)
		})
	}
}

func installs(t *testing.T, in shmtest.Interpreter) {
	dir, ours := t.TempDir(), filepath.Join(shmtest.Root(t), "python")
	source, env := filepath.Join(dir, "python"), filepath.Join(dir, "env")
	if err := os.CopyFS(source, os.DirFS(ours)); err != nil {
		t.Fatal(err)
	}
	python := filepath.Join(env, "bin", "python")
	name, implementation := shmtest.Name(t), "python"
	if _, err := in.Native(); err == nil {
		implementation = "native"
	}
	for _, args := range [][]string{
		{in.Path, "-m", "venv", "--without-pip", "--system-site-packages", env},
		{python, "-m", "pip", "--disable-pip-version-check", "install", "--no-index", source},
		{python, "-I", "-c", "import shm, sys, importlib.metadata as installed\n" +
			"assert shm.__file__.startswith(sys.prefix), shm.__file__\n" +
			"files = {f.name for f in installed.files('shm') if str(f).startswith('shm/') and f.suffix == '.py'}\n" +
			"assert files == set(sys.argv[3:]), files\n" +
			"assert shm.implementation == sys.argv[2], (shm.implementation, shm.native.missing)\n" +
			"assert installed.metadata('shm')['Version'] == installed.version('shm') == '0.1.0'\n" +
			"assert shm.open(sys.argv[1], create=True).value('n', 'q').add(3) == 3", name, implementation},
		{python, "-m", "pip", "--disable-pip-version-check", "uninstall", "--yes", "shm"},
	} {
		if args[1] == "-I" {
			for _, file := range shmtest.Must(filepath.Glob(filepath.Join(ours, "shm", "*.py")))(t) {
				args = append(args, filepath.Base(file))
			}
		}
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	if n := shmtest.Must(shm.NewValue[int64](shmtest.Opened(shm.Open(name, nil))(t), "n", 0))(t).Load(); n != 3 {
		t.Fatalf("the number is %d", n)
	}
}

// BenchmarkPython measures the lock from Python beside multiprocessing's, and raw
// access beside ctypes' own, in one run of the first Python.
func BenchmarkPython(b *testing.B) {
	python := shmtest.Python(b, shmtest.PythonShm)
	ratios := map[string]float64{}
	for b.Loop() {
		out, err := python.Command("-m", "shm.bench").Output()
		if err != nil {
			b.Fatal(err)
		}
		for _, row := range regexp.MustCompile(`(?m)^(.*\S) +[\d.]+ +[\d.]+ +([\d.]+)$`).FindAllStringSubmatch(string(out), -1) {
			ratios[row[1]] = shmtest.Must(strconv.ParseFloat(row[2], 64))(b)
		}
	}
	b.ReportMetric(0, "ns/op")
	for unit, row := range map[string]string{"increment/multiprocessing": "with v.get_lock(): v.value += 1", "get/multiprocessing": "locked get", "raw/ctypes": "raw += 1"} {
		if ratios[row] == 0 {
			b.Fatalf("no ratio of %q: %v", row, ratios)
		}
		b.ReportMetric(ratios[row], unit)
	}
}
