package shmtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Tool returns the path of a program, or skips the test if it is not installed.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("this test needs %s: %v", name, err)
	}
	return path
}

// Root returns the root directory of this module, or skips the test if the test
// binary runs where no sources are.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := root()
	if err != nil {
		t.Skip(err)
	}
	return dir
}

// A package's tests run in its directory, so go.mod is there or above.
var root = sync.OnceValues(func() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		_, err := os.Stat(filepath.Join(dir, "go.mod"))
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no sources: there is no go.mod in or above %s", start)
		}
	}
})

// GoProgram builds a program of this module and returns its path. Each program
// is built once for the same flags of go build. The test is skipped if there is
// no go command.
func GoProgram(t testing.TB, importPath string, flags ...string) (program string) {
	t.Helper()
	tool := Tool(t, "go")
	return build(t, filepath.Base(importPath), func(output string) *exec.Cmd {
		return exec.Command(tool, slices.Concat([]string{"build", "-o", output}, flags, []string{importPath})...)
	}, append(flags, importPath)...)
}

// CProgram compiles a C program with gcc, with optimization and threads, and
// returns its path. The last argument is the source file; those before are for
// gcc. Each program is compiled once for the same arguments. The test is skipped
// if there is no gcc.
func CProgram(t testing.TB, args ...string) (program string) {
	t.Helper()
	tool := Tool(t, "gcc")
	name := strings.TrimSuffix(filepath.Base(args[len(args)-1]), ".c")
	return build(t, name, func(output string) *exec.Cmd {
		return exec.Command(tool, slices.Concat([]string{"-O2", "-pthread", "-o", output}, args)...)
	}, args...)
}

// Overlay returns the flag of the go command that adds files to this module.
// The keys are their paths from its root. A package that is added can import
// what this module requires, so nothing has to be downloaded.
func Overlay(t testing.TB, files map[string]string) (flag string) {
	t.Helper()
	dir, replace := t.TempDir(), map[string]string{}
	for path, text := range files {
		file := filepath.Join(dir, fmt.Sprint(len(replace), "-", filepath.Base(path)))
		WriteFile(t, file, []byte(text))
		replace[filepath.Join(Root(t), filepath.FromSlash(path))] = file
	}
	list := filepath.Join(dir, "overlay.json")
	WriteFile(t, list, Must(json.Marshal(map[string]any{"Replace": replace}))(t))
	return "-overlay=" + list
}

// programs has what was built, by its arguments.
var programs sync.Map // of func() (string, error)

// build runs a compiler once for the same arguments. The tests of a binary share
// a program, so it lies in a directory that Main removes.
func build(t testing.TB, name string, compiler func(output string) *exec.Cmd, args ...string) (program string) {
	t.Helper()
	once, _ := programs.LoadOrStore(fmt.Sprintf("%q", args), sync.OnceValues(func() (string, error) {
		dir, err := scratchDir()
		if err != nil {
			return "", err
		}
		output := filepath.Join(dir, name)
		cmd := compiler(output)
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%v: %w\n%s", cmd, err, out)
		}
		return output, nil
	}))
	program, err := once.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

var scratch struct {
	sync.Mutex
	dir string // "": none was made
}

// scratchDir makes a new directory, which exists until Main returns.
func scratchDir() (string, error) {
	scratch.Lock()
	defer scratch.Unlock()
	if scratch.dir == "" {
		dir, err := os.MkdirTemp("", "shmtest-")
		if err != nil {
			return "", err
		}
		scratch.dir = dir
	}
	return os.MkdirTemp(scratch.dir, "")
}

func removeScratch() error {
	scratch.Lock()
	defer scratch.Unlock()
	if scratch.dir == "" {
		return nil
	}
	return os.RemoveAll(scratch.dir)
}
