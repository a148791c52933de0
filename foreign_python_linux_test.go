package shm

import (
	"encoding/json"
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
)

// foreignPoint is testdata/foreign/parent.py's Point.
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

// check reads what Python stored first, stores what Python is to see, and
// returns what tells whether Python's last store is seen.
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
func checkPythonMemory(t *testing.T, p *process, s *Segment, where map[string]int64) {
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
	array := must(RawArrayAt[float64](s, at("array"), 3))(t)
	add(check(t, "array", func() []float64 { return slices.Clone(array.Slice()) }, func(x []float64) { array.Set(0, x[0]); array.Set(2, x[2]) },
		[]float64{1.5, -2.5, 0}, []float64{0.25, -2.5, 1e9}, []float64{3, 2, 1}))
	chars := must(CharArrayAt(s, at("chars"), 12))(t)
	add(check(t, "chars", chars.Value, func(x string) {
		if err := chars.SetValue(x); err != nil {
			t.Error(err)
		}
	}, "hello", "bye", "exactly twel"))
	point := must(RawStructAt[foreignPoint](s, at("struct")))(t)
	add(check(t, "struct", point.Get, point.Set, foreignPoint{1.5, -7, [3]int32{1, 2, 3}, true, tag("abc")},
		foreignPoint{-0.5, 100, [3]int32{1, -2, 3}, false, tag("12345")}, foreignPoint{OK: true, Tag: tag("\x002345")})) // ctypes leaves what is behind the NUL
	for name := range where {
		t.Errorf("Python has made %s, which is not looked at", name)
	}
	p.must("check", "ok")
	for _, f := range after {
		f()
	}
}

func checkNumberAt[T Numeric](t *testing.T, s *Segment, name string, at func(string) int64, first, stored, last T) func() {
	t.Helper()
	v := must(RawValueAt[T](s, at(name)))(t)
	return check(t, name, v.Get, v.Set, first, stored, last)
}

// startParent starts a parent.py, whose head, what it says before it says where
// its values are, is of so many lines.
func startParent(t *testing.T, lines int, args ...string) (p *process, head []string, where map[string]int64) {
	t.Helper()
	cmd := exec.Command(findMultiprocessing(t), append([]string{"-W", "error", filepath.Join("testdata", "foreign", "parent.py")}, args...)...)
	cmd.Stderr = os.Stderr
	p = startProgram(t, cmd)
	for range lines {
		head = append(head, p.line())
	}
	where = map[string]int64{}
	for line := p.line(); line != "ready"; line = p.line() {
		name, off, _ := strings.Cut(line, " ")
		where[name] = must(strconv.ParseInt(off, 10, 64))(t)
	}
	return p, head, where
}

// passerby attaches to foreign memory, counts in its first byte, and ends.
var passerby = helper("passerby", func(args []string) error {
	s, err := Open(args[0], &Options{Foreign: true})
	if err != nil {
		return err
	}
	n, err := RawValueAt[uint8](s, 0)
	if err != nil {
		return err
	}
	n.Set(n.Get() + 1)
	return nil
})

func TestPythonSharedMemory(t *testing.T) {
	t.Parallel()
	name := testName(t)
	p, _, where := startParent(t, 0, "shared", name)
	s := open(t, name, &Options{Foreign: true})
	if s.Size() < 4096 {
		t.Errorf("%d bytes", s.Size())
	}
	checkPythonMemory(t, p, s, where)
	// Who only attached takes nothing away when it ends.
	for range 2 {
		start(t, passerby, name).wait()
		p.must("reattach", "ok")
	}
	count := must(RawValueAt[uint8](s, 0))(t)
	if err := p.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	p.wait()
	// Python has removed the name; who is attached keeps the memory.
	if _, err := os.Stat(Path(name)); !os.IsNotExist(err) || count.Get() != 2 {
		t.Errorf("%v, %d", err, count.Get())
	}
}

func TestPythonHeap(t *testing.T) {
	t.Parallel()
	p, head, where := startParent(t, 1, "heap")
	f := must(os.OpenFile(head[0], os.O_RDWR, 0))(t)
	defer f.Close()
	s := must(OpenFile(f, &Options{Foreign: true}))(t)
	defer s.Close()
	checkPythonMemory(t, p, s, where)
	// What Python has freed is soon another value's: docs/foreign.md says so.
	off := p.tell("reuse")
	n := must(RawValueAt[int64](s, must(strconv.ParseInt(off, 10, 64))(t)))(t)
	if n.Get() != 5 {
		t.Error(n.Get())
	}
	p.must("", off)
	if n.Get() != 6 {
		t.Error("the memory of a freed number is not used again: ", n.Get())
	}
}

// TestForeignRecipes runs the programs of docs/foreign.md as they stand there:
// under each heading a parent in Python, its child in Go, and what they print.
func TestForeignRecipes(t *testing.T) {
	t.Parallel()
	python := findMultiprocessing(t)
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skipf("this test needs the go command: %v", err)
	}
	root := must(os.Getwd())(t)
	doc := string(must(os.ReadFile(filepath.Join("docs", "foreign.md")))(t))
	recipes := regexp.MustCompile("(?s)`parent.py`:\n\n```python\n(.*?)```\n\n`child.go`:\n\n```go\n(.*?)```\n\nIt prints:\n\n```text\n(.*?)```\n").FindAllStringSubmatch(doc, -1)
	pieces := regexp.MustCompile("(?s)```go\n(.*?)```\n").FindAllStringSubmatch(doc, -1)
	if len(recipes) != 2 || strings.Count(doc, "```") != 2*(3*len(recipes)+1) {
		t.Fatalf("%d recipes", len(recipes))
	}
	// The last piece is a part of an example.
	if examples := string(must(os.ReadFile("foreign_example_test.go"))(t)); !strings.Contains(examples, pieces[len(recipes)][1]) {
		t.Errorf("no example has\n%s", pieces[len(recipes)][1])
	}
	for _, r := range recipes {
		parent, child, want := r[1], r[2], r[3]
		dir := t.TempDir()
		source := filepath.Join(dir, "child.go")
		// A package that is only in an overlay over this module, whose
		// requirements apply: see TestTypesThatDoNotCompile.
		overlay := must(json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, "overlaid", "child.go"): source}}))(t)
		for name, text := range map[string][]byte{"child.go": []byte(child), "parent.py": []byte(parent), "overlay.json": overlay} {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := exec.Command(goTool, "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", filepath.Join(dir, "child"), "./overlaid").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s\n%s", err, out, child)
		}
		cmd := exec.CommandContext(t.Context(), python, "-W", "error", "parent.py")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("%v, %q, want %q\n%s", err, out, want, parent)
		}
	}
}
