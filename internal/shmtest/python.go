package shmtest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// What tests need of a Python interpreter, in Python. The code calls sys.exit
// with the reason if the interpreter does not have it.
const (
	// PythonShm is this module's Python package.
	PythonShm = "import unittest, shm\nsys.exit(shm.atomics.unavailable)"

	// PythonMultiprocessing is CPython with shared memory.
	PythonMultiprocessing = "import doctest, multiprocessing.shared_memory\n" +
		"from multiprocessing import Lock, sharedctypes\nLock()\n" +
		"if sys.implementation.name != 'cpython': sys.exit('not CPython')"
)

// Interpreter is a Python interpreter, of version 3.9 or later and 64 bits. Path is
// the interpreter itself, even if the search path has a script that starts it.
type Interpreter struct {
	Path, Version string

	native string // directory of a copy of the packages with the compiled module; "": the sources, without it
}

// Command returns the command that runs Python with arguments. It finds this
// module's Python packages and writes no compiled files beside them. Variables that
// change how Python works, such as PYTHONUNBUFFERED, are not passed on: a test does
// the same on each machine.
func (in Interpreter) Command(args ...string) *exec.Cmd {
	cmd := exec.Command(in.Path, args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PYTHON") && !strings.HasPrefix(v, "PYTHONHOME=") })
	cmd.Env = append(cmd.Env, "PYTHONDONTWRITEBYTECODE=1")
	if in.native != "" {
		cmd.Env = append(cmd.Env, "PYTHONPATH="+in.native, "SHM_PURE=0")
	} else if dir, err := root(); err == nil {
		cmd.Env = append(cmd.Env, "PYTHONPATH="+filepath.Join(dir, "python"), "SHM_PURE=1")
	}
	return cmd
}

// Name returns "Python", or what it is called with the verbs in C.
func (in Interpreter) Name() string {
	if in.native != "" {
		return "Python with C"
	}
	return "Python"
}

// String returns the version, and whether the verbs in C are used.
func (in Interpreter) String() string {
	if in.native != "" {
		return in.Version + " native"
	}
	return in.Version
}

// Packages returns the directory with the Python packages that Command's Python
// finds. A test that runs in it finds the same ones.
func (in Interpreter) Packages(t testing.TB) string {
	t.Helper()
	if in.native != "" {
		return in.native
	}
	return filepath.Join(Root(t), "python")
}

// Native returns the interpreter with a copy of the packages whose verbs in C are
// compiled for it. The error says why they cannot be: there is no compiler, or no
// Python.h.
func (in Interpreter) Native() (Interpreter, error) {
	dir, err := nativePackages()
	if err != nil {
		return Interpreter{}, err
	}
	once, _ := natives.LoadOrStore(in.Path, sync.OnceValue(func() error {
		cmd := exec.Command(in.Path, filepath.Join(dir, "native_build.py"))
		cmd.Env = append(os.Environ(), "CFLAGS=-Wall -Werror")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("the Python package's verbs in C for Python %s: %w: %s", in.Version, err, bytes.TrimSpace(out))
		}
		built := Interpreter{in.Path, in.Version, dir}
		out, err = built.Command("-c", "import shm; print(shm.implementation, shm.native.missing)").CombinedOutput()
		if text := strings.TrimSpace(string(out)); err != nil || text != "native None" {
			return fmt.Errorf("Python %s does not use the verbs in C that were compiled for it: %w: %s", in.Version, errors.Join(ErrBroken, err), text)
		}
		return nil
	}))
	if err := once.(func() error)(); err != nil {
		return Interpreter{}, err
	}
	return Interpreter{in.Path, in.Version, dir}, nil
}

// ErrBroken is the error of Native if the verbs in C were compiled and are not used.
var ErrBroken = errors.New("the compiled module does not work")

// natives has the results of Native, by the path of the interpreter.
var natives sync.Map // of func() error

// nativePackages copies the Python packages to a directory that Main removes. The
// compiled modules of several Pythons have different names there.
var nativePackages = sync.OnceValues(func() (string, error) {
	from, err := root()
	if err != nil {
		return "", err
	}
	dir, err := scratchDir()
	if err != nil {
		return "", err
	}
	// Tests look for their data beside the packages.
	if err := os.Symlink(filepath.Join(from, "testdata"), filepath.Join(dir, "testdata")); err != nil {
		return "", err
	}
	from, dir = filepath.Join(from, "python"), filepath.Join(dir, "python")
	return dir, filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, strings.TrimPrefix(path, from))
		switch {
		case d.IsDir() && d.Name() == "__pycache__":
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(to, 0o755)
		case filepath.Ext(path) == ".so": // of somebody who has built it in place
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, text, 0o644)
	})
})

// Python returns the interpreter of FindPython, or skips the test.
func Python(t testing.TB, needs string) Interpreter {
	t.Helper()
	first, err := FindPython(needs)
	if err != nil {
		t.Skip(err)
	}
	return first
}

// FindPython returns the first interpreter on the search path that has what is
// needed. One that is called python3 comes before python3.9 and its like. The
// error says why the first one that was refused is of no use.
func FindPython(needs string) (Interpreter, error) {
	found, err := findPythons(needs, 1)
	if err != nil {
		return Interpreter{}, err
	}
	return found[0], nil
}

// Pythons returns all interpreters on the search path that have what is needed,
// each version once, in the order of FindPython. It skips the test if there is
// none.
func Pythons(t testing.TB, needs string) []Interpreter {
	t.Helper()
	found, err := findPythons(needs, math.MaxInt)
	if err != nil {
		t.Skip(err)
	}
	return found
}

// searches has the results of findPythons. A search may take seconds, because
// some interpreters are scripts that look for one.
var searches sync.Map // of func() ([]Interpreter, error)

func findPythons(needs string, most int) ([]Interpreter, error) {
	once, _ := searches.LoadOrStore(fmt.Sprint(most, needs), sync.OnceValues(func() ([]Interpreter, error) {
		return searchPythons(needs, most)
	}))
	return once.(func() ([]Interpreter, error))()
}

func searchPythons(needs string, most int) (found []Interpreter, err error) {
	names := []string{"python3"}
	for minor := 9; minor <= 16; minor++ {
		names = append(names, fmt.Sprint("python3.", minor))
	}
	seen := map[string]bool{} // files and versions
	for _, name := range names {
		for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
			path, e := exec.LookPath(filepath.Join(dir, name))
			if e != nil {
				continue
			}
			if file, e := filepath.EvalSymlinks(path); e == nil {
				if seen[file] {
					continue
				}
				seen[file] = true
			}
			in, e := askPython(path, needs)
			if e != nil {
				if err == nil {
					err = e
				}
				continue
			}
			if seen[in.Version] {
				continue
			}
			seen[in.Version] = true
			if found = append(found, in); len(found) == most {
				return found, nil
			}
		}
	}
	switch {
	case len(found) > 0:
		return found, nil
	case err == nil:
		err = errors.New("this test needs python3, which is not in PATH")
	}
	return nil, err
}

// askPython returns the interpreter that a path starts, if it has what is needed.
func askPython(path, needs string) (Interpreter, error) {
	cmd := Interpreter{Path: path}.Command("-c", "import sys\n"+
		"if sys.version_info < (3, 9): sys.exit('older than 3.9')\n"+
		"if sys.maxsize < 2**32: sys.exit('32 bits')\n"+
		"print('.'.join(map(str, sys.version_info[:3])))\n"+
		"print(sys.executable)\n"+needs)
	var out, why bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &why
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(why.String()), "\n")
		return Interpreter{}, fmt.Errorf("%s is of no use: %w: %s", path, err, lines[len(lines)-1]) // the last line of a traceback
	}
	version, rest, _ := strings.Cut(out.String(), "\n")
	executable, _, _ := strings.Cut(rest, "\n")
	if executable == "" { // Python did not find itself.
		executable = path
	}
	return Interpreter{Path: executable, Version: version}, nil
}
