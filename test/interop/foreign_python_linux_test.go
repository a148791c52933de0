package interop_test

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// foreignPoint is the Point of testdata/foreign/parent.py.
type foreignPoint struct {
	X   float64
	B   int8
	N   [3]int32
	OK  bool
	Tag [5]byte `shm:"tag,char"`
}

func tag(s string) (b [5]byte) {
	copy(b[:], s)
	return b
}

// check compares a value with what Python has stored first, and stores what Python
// is to see. The function after checks what Python has stored last.
func check[T any](t *testing.T, name string, get func() T, set func(T), first, stored, last T) (after func()) {
	t.Helper()
	want := func(want T) {
		t.Helper()
		if got := get(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	want(first)
	set(stored)
	return func() { t.Helper(); want(last) }
}

// checkPythonMemory goes through all values that a parent.py has made in
// foreign memory.
func checkPythonMemory(t *testing.T, p *shmtest.Process, s *shm.Segment, where map[string]int64) {
	t.Helper()
	var after []func()
	add := func(f func()) { after = append(after, f) }
	at := func(name string) int64 {
		t.Helper()
		off, ok := where[name]
		if !ok {
			t.Fatalf("%s is not there", name)
		}
		delete(where, name)
		return off
	}
	add(checkNumberAt(t, s, "c", at, 'x', byte('y'), 'z'))
	add(checkNumberAt(t, s, "u", at, 'ü', '日', 'x'))
	add(checkNumberAt[int8](t, s, "b", at, math.MinInt8, math.MaxInt8, -1))
	add(checkNumberAt[uint8](t, s, "B", at, math.MaxUint8, 0, 7))
	add(checkNumberAt[int16](t, s, "h", at, math.MinInt16, math.MaxInt16, -2))
	add(checkNumberAt[uint16](t, s, "H", at, math.MaxUint16, 0, 8))
	add(checkNumberAt[int32](t, s, "i", at, math.MinInt32, math.MaxInt32, -3))
	add(checkNumberAt[uint32](t, s, "I", at, math.MaxUint32, 0, 9))
	add(checkNumberAt[int64](t, s, "l", at, math.MinInt64, math.MaxInt64, -4))
	add(checkNumberAt[uint64](t, s, "L", at, math.MaxUint64, 0, 10))
	add(checkNumberAt[int64](t, s, "q", at, math.MinInt64, math.MaxInt64, -5))
	add(checkNumberAt[uint64](t, s, "Q", at, math.MaxUint64, 0, 11))
	add(checkNumberAt[float32](t, s, "f", at, 0.5, -1.25, 1e30))
	add(checkNumberAt[float64](t, s, "d", at, 0.1, -1e300, math.Inf(1)))
	array := shmtest.Must(shm.RawArrayAt[float64](s, at("array"), 3))(t)
	add(check(t, "array", func() []float64 { return slices.Clone(array.Slice()) }, func(x []float64) { array.Set(0, x[0]); array.Set(2, x[2]) },
		[]float64{1.5, -2.5, 0}, []float64{0.25, -2.5, 1e9}, []float64{3, 2, 1}))
	chars := shmtest.Must(shm.CharArrayAt(s, at("chars"), 12))(t)
	add(check(t, "chars", chars.Value, func(x string) {
		if err := chars.SetValue(x); err != nil {
			t.Error(err)
		}
	}, "hello", "bye", "exactly twel"))
	point := shmtest.Must(shm.RawStructAt[foreignPoint](s, at("struct")))(t)
	add(check(t, "struct", point.Get, point.Set, foreignPoint{1.5, -7, [3]int32{1, 2, 3}, true, tag("abc")},
		foreignPoint{-0.5, 100, [3]int32{1, -2, 3}, false, tag("12345")}, foreignPoint{OK: true, Tag: tag("\x002345")})) // ctypes keeps the bytes behind the NUL
	for name := range where {
		t.Errorf("Python has made %s, which is not checked", name)
	}
	p.Do("check", "ok")
	for _, f := range after {
		f()
	}
}

func checkNumberAt[T shm.Numeric](t *testing.T, s *shm.Segment, name string, at func(string) int64, first, stored, last T) func() {
	t.Helper()
	v := shmtest.Must(shm.RawValueAt[T](s, at(name)))(t)
	return check(t, name, v.Get, v.Set, first, stored, last)
}

// startParent starts testdata/foreign/parent.py, which prints a head of so many
// lines, and then the name and the offset of each value.
func startParent(t *testing.T, lines int, args ...string) (p *shmtest.Process, head []string, where map[string]int64) {
	t.Helper()
	script := filepath.Join("testdata", "foreign", "parent.py")
	shmtest.Must(os.Stat(script))(t) // go test does not see that Python reads it.
	python := shmtest.Python(t, shmtest.PythonMultiprocessing)
	p = shmtest.StartProgram(t, python.Command(append([]string{"-W", "error", script}, args...)...))
	for range lines {
		head = append(head, p.Line())
	}
	where = map[string]int64{}
	for line := p.Line(); line != "ready"; line = p.Line() {
		name, off, _ := strings.Cut(line, " ")
		where[name] = shmtest.Must(strconv.ParseInt(off, 10, 64))(t)
	}
	return p, head, where
}

// passerby attaches to foreign memory, adds 1 to its first byte, and ends.
var passerby = shmtest.Helper("passerby", func(args []string) error {
	s, err := shm.Open(args[0], &shm.Options{Foreign: true})
	if err != nil {
		return err
	}
	n, err := shm.RawValueAt[uint8](s, 0)
	if err != nil {
		return err
	}
	n.Set(n.Get() + 1)
	return nil
})

func TestPythonSharedMemory(t *testing.T) {
	t.Parallel()
	name := shmtest.Name(t)
	p, _, where := startParent(t, 0, "shared", name)
	s := shmtest.Opened(shm.Open(name, &shm.Options{Foreign: true}))(t)
	if s.Size() < 4096 {
		t.Errorf("%d bytes", s.Size())
	}
	checkPythonMemory(t, p, s, where)
	// A process that has only attached removes nothing when it ends.
	for range 2 {
		shmtest.Start(t, passerby, name).Wait()
		p.Do("reattach", "ok")
	}
	count := shmtest.Must(shm.RawValueAt[uint8](s, 0))(t)
	if err := p.Stdin.Close(); err != nil {
		t.Fatal(err)
	}
	p.Wait()
	// Python has removed the name. Attached processes keep the memory.
	if _, err := os.Stat(shm.Path(name)); !os.IsNotExist(err) || count.Get() != 2 {
		t.Errorf("%v, %d", err, count.Get())
	}
}

func TestPythonHeap(t *testing.T) {
	t.Parallel()
	p, head, where := startParent(t, 1, "heap")
	f := shmtest.Must(os.OpenFile(head[0], os.O_RDWR, 0))(t)
	defer f.Close()
	s := shmtest.Must(shm.OpenFile(f, &shm.Options{Foreign: true}))(t)
	defer s.Close()
	checkPythonMemory(t, p, s, where)
	// Python uses the memory of a freed value again, as docs/foreign.md says.
	off := p.Ask("reuse")
	n := shmtest.Must(shm.RawValueAt[int64](s, shmtest.Must(strconv.ParseInt(off, 10, 64))(t)))(t)
	if n.Get() != 5 {
		t.Error(n.Get())
	}
	p.Do("", off)
	if n.Get() != 6 {
		t.Error("the memory of a freed number is not used again: ", n.Get())
	}
}

// TestForeignRecipes runs the programs of docs/foreign.md as they are printed there:
// under each heading a parent in Python, its child in Go, and what they print.
func TestForeignRecipes(t *testing.T) {
	t.Parallel()
	python := shmtest.Python(t, shmtest.PythonMultiprocessing)
	root := shmtest.Root(t)
	doc := string(shmtest.Must(os.ReadFile(filepath.Join(root, "docs", "foreign.md")))(t))
	recipes := regexp.MustCompile("(?s)`parent.py`:\n\n```python\n(.*?)```\n\n`child.go`:\n\n```go\n(.*?)```\n\nIt prints:\n\n```text\n(.*?)```\n").FindAllStringSubmatch(doc, -1)
	pieces := regexp.MustCompile("(?s)```go\n(.*?)```\n").FindAllStringSubmatch(doc, -1)
	if len(recipes) != 2 || strings.Count(doc, "```") != 2*(3*len(recipes)+1) {
		t.Fatalf("%d recipes", len(recipes))
	}
	// The last piece is a part of an example.
	examples := string(shmtest.Must(os.ReadFile(filepath.Join(root, "foreign_example_test.go")))(t))
	if !strings.Contains(examples, pieces[len(recipes)][1]) {
		t.Errorf("no example has\n%s", pieces[len(recipes)][1])
	}
	for _, r := range recipes {
		parent, child, want := r[1], r[2], r[3]
		program := shmtest.GoProgram(t, "example.org/shm/overlaid", shmtest.Overlay(t, map[string]string{"overlaid/child.go": child}))
		dir := t.TempDir()
		if err := os.Symlink(program, filepath.Join(dir, "child")); err != nil {
			t.Fatal(err)
		}
		shmtest.WriteFile(t, filepath.Join(dir, "parent.py"), []byte(parent))
		cmd := exec.CommandContext(t.Context(), python.Path, "-W", "error", "parent.py")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("%v, %q, want %q\n%s", err, out, want, parent)
		}
	}
}
