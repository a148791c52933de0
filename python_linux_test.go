package shm

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The tests of the Python package are in python/tests. They need a peer in Go,
// which is this test binary again.

// TestPython runs each file of python/tests by itself, in each Python that there
// is. The first one's storm is as long as any.
func TestPython(t *testing.T) {
	for _, name := range []string{pythonPeer, agent, stormer} { // which they start by name
		if helpers[name] == nil {
			t.Fatalf("no helper %q", name)
		}
	}
	findPython(t)
	files := must(filepath.Glob("python/tests/test_*.py"))(t)
	if len(files) == 0 {
		t.Fatal("no tests in python/tests")
	}
	self := must(os.Executable())(t)
	all, _ := interpreters()
	for i, python := range all {
		length := *stormLength
		if i > 0 {
			length /= 10
		}
		for _, file := range files {
			name := strings.TrimSuffix(filepath.Base(file), ".py")
			t.Run(python.version+" "+strings.TrimPrefix(name, "test_"), func(t *testing.T) {
				t.Parallel()
				cmd := exec.CommandContext(t.Context(), python.path, "-W", "error", "-m", "unittest", "-v", "tests."+name)
				cmd.Dir = "python"
				cmd.Env = append(os.Environ(), "SHM_TEST_PEER="+self, "SHM_TEST_PREFIX="+testName(t),
					fmt.Sprint("SHM_TEST_STORM=", length.Seconds()), "PYTHONDONTWRITEBYTECODE=1")
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				for _, skipped := range regexp.MustCompile(`(?m)^.*\.\.\. skipped .*$`).FindAllString(string(out), -1) {
					t.Log(skipped)
				}
			})
		}
	}
}

// TestPythonInstalls installs the package as a user does, without a network or
// setuptools, in each Python that there is: a copy, as pip may write beside it.
func TestPythonInstalls(t *testing.T) {
	findPython(t)
	all, _ := interpreters()
	for _, python := range all {
		t.Run(python.version, func(t *testing.T) {
			t.Parallel()
			if err := exec.Command(python.path, "-c", "import pip, venv").Run(); err != nil {
				t.Skip("it has no pip and venv")
			}
			installs(t, python)
		})
	}
}

func installs(t *testing.T, in interpreter) {
	dir := t.TempDir()
	source, env := filepath.Join(dir, "python"), filepath.Join(dir, "env")
	if err := os.CopyFS(source, os.DirFS("python")); err != nil {
		t.Fatal(err)
	}
	python := filepath.Join(env, "bin", "python")
	name := testName(t)
	for _, args := range [][]string{
		{in.path, "-m", "venv", "--without-pip", "--system-site-packages", env},
		{python, "-m", "pip", "--disable-pip-version-check", "install", "--no-index", source},
		{python, "-I", "-c", "import shm, sys, importlib.metadata as installed\n" +
			"assert shm.__file__.startswith(sys.prefix), shm.__file__\n" +
			"files = {f.name for f in installed.files('shm') if str(f).startswith('shm/') and f.suffix == '.py'}\n" +
			"assert files == set(sys.argv[2:]), files\n" +
			"assert installed.metadata('shm')['Version'] == installed.version('shm') == '0.1.0'\n" +
			"assert shm.open(sys.argv[1], create=True).value('n', 'q').add(3) == 3", name},
		{python, "-m", "pip", "--disable-pip-version-check", "uninstall", "--yes", "shm"},
	} {
		if args[1] == "-I" {
			for _, file := range must(filepath.Glob("python/shm/*.py"))(t) {
				args = append(args, filepath.Base(file))
			}
		}
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	if n := must(NewValue[int64](open(t, name, nil), "n", 0))(t).Load(); n != 3 {
		t.Fatalf("the number is %d", n)
	}
}

// The lock from Python beside multiprocessing's, and raw access beside ctypes' own,
// in one run of the first Python.
func BenchmarkPython(b *testing.B) {
	python := findPython(b)
	ratios := map[string]float64{}
	for b.Loop() {
		cmd := exec.Command(python, "-m", "shm.bench")
		cmd.Dir = "python"
		out, err := cmd.Output()
		if err != nil {
			b.Fatal(err)
		}
		for _, row := range regexp.MustCompile(`(?m)^(.*\S) +[\d.]+ +[\d.]+ +([\d.]+)$`).FindAllStringSubmatch(string(out), -1) {
			ratios[row[1]] = must(strconv.ParseFloat(row[2], 64))(b)
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

type pyPoint struct {
	X, Y float64
	N    int32
	OK   bool
	Tag  [3]byte `shm:"tag,char"`
}

// pyLonger is what Python's tests let a pyPoint grow into, and one field more.
type pyLonger struct {
	X, Y  float64
	N     int32
	OK    bool
	Tag   [3]byte `shm:"tag,char"`
	More  int64
	Extra int32
	_     [4]byte
}

type pyPadded struct {
	A int8
	B int32
	M [2][3]float32
}

// pyNested has all that a struct can have.
type pyNested struct {
	A int8
	_ [7]byte // as 64-bit systems have it, on 32-bit ones, too
	P [2][3]struct {
		X, Y int16
		_    [4]byte
		Z    float64
	}
	OK  [3]bool
	Tag [2][4]byte `shm:"tag,char"`
	C   complex64
	_   [4]byte
}

// pyPair is long enough for a copy to be overtaken.
type pyPair struct{ A [4096]int64 }

// kinds is a value of every kind.
type kinds struct {
	RawInt     RawValue[int64]     `shm:"rawInt"`
	RawByte    RawValue[uint8]     `shm:"rawByte"`
	RawComplex RawValue[complex64] `shm:"rawComplex"`
	RawArray   RawArray[float32]   `shm:"rawArray,len=5"`
	RawStruct  RawStruct[pyPadded] `shm:"rawStruct"`
	Chars      CharArray           `shm:"chars,len=16"`
	Value      Value[float64]      `shm:"value"`
	Short      Value[int16]        `shm:"short"`
	Complex    Value[complex64]    `shm:"complex"`
	Array      Array[int32]        `shm:"array,len=4"`
	Struct     Struct[pyPoint]     `shm:"struct"`
	Nested     Struct[[2]pyNested] `shm:"nested"`
	String     String              `shm:"string,len=32"`
	Atomic     Atomic[uint64]      `shm:"atomic"`
	Signed     Atomic[int32]       `shm:"signed"`
	Mutex      *Mutex              `shm:"mutex"`
}

// pythonPeer does what python/tests ask for, a line at a time, and answers ok or
// what is wrong.
var pythonPeer = helper("pythonPeer", func(args []string) error {
	s, err := Open(args[0], &Options{MaxSize: 1 << 20})
	if err != nil {
		return err
	}
	return replies(func(words []string) (string, error) {
		answer, err := peerObeys(s, words)
		if err != nil {
			return strings.ReplaceAll(err.Error(), "\n", "; "), nil
		}
		return answer, nil
	})
})

func peerObeys(s *Segment, words []string) (answer string, err error) {
	switch words[0] {
	case "pair":
		_, err = NewStruct(s, "pair", pyPair{})
		return "ok", err
	case "writePairs": // for so many milliseconds
		return "ok", writePairs(s, words[1])
	case "pass": // to this interpreter
		return passToPython(s, words[1])
	case "growAndSet", "grown":
		return growForPython(s, words)
	}
	var k kinds
	if err := Bind(s, &k); err != nil {
		return "", err
	}
	switch words[0] {
	case "make":
		return "ok", k.make()
	case "check":
		return "ok", k.check()
	case "change":
		return "ok", k.change()
	case "checkChanged":
		return "ok", k.checkChanged()
	case "misfits":
		_, err := NewRawValue[uint64](s, "rawInt", 0)
		var mismatch *LayoutError
		if !errors.As(err, &mismatch) || mismatch.Pid != os.Getppid() {
			return "", fmt.Errorf("no mismatch: %v", err)
		}
		return "ok", nil
	}
	return "", fmt.Errorf("what is %q", words)
}

// make, and what is below, has its twin in python/tests/test_kinds.py.
func (k *kinds) make() error {
	k.RawInt.Set(-42)
	k.RawByte.Set(200)
	k.RawComplex.Set(1 + 2i)
	for i := range k.RawArray.Len() {
		k.RawArray.Set(i, float32(i))
	}
	p := pyPadded{A: -1, B: 2}
	p.M[1][2] = 12.5
	k.RawStruct.Set(p)
	k.Value.Store(0.5)
	k.Short.Store(-7)
	k.Complex.Store(3 - 4i)
	for i := range k.Array.Len() {
		k.Array.Store(i, int32(10*i+10))
	}
	k.Struct.Store(pyPoint{1.5, -2.5, 3, true, [3]byte([]byte("abc"))})
	k.Nested.Update(func(p *[2]pyNested) {
		p[0].A, p[1].OK[2], p[1].C = -1, true, 1-2i
		p[1].P[1][2].X, p[1].P[1][2].Z = 7, 0.5
		copy(p[1].Tag[1][:], "tag")
	})
	k.Atomic.Store(1 << 63)
	k.Signed.Store(-5)
	return errors.Join(k.Chars.SetValue("hello"), k.String.Store("grüße"))
}

func (k *kinds) change() error {
	k.RawInt.Set(k.RawInt.Get() + 1)
	k.RawByte.Set(k.RawByte.Get() + 100)
	k.RawComplex.Set(2 * k.RawComplex.Get())
	k.RawArray.Set(2, -0.25)
	k.RawStruct.Ptr().M[0][1] = 1.5
	k.Value.Add(1)
	k.Short.CompareAndSwap(-7, 1000)
	k.Complex.Store(3 + 4i)
	k.Array.WithLock(func(a []int32) { a[0], a[3] = a[3], a[0] })
	k.Struct.Update(func(p *pyPoint) { p.N++; p.OK = false })
	k.Nested.Update(func(p *[2]pyNested) { p[1].P[1][2].Z++; p[0].OK[0] = true; p[0].Tag[0] = [4]byte([]byte("full")) })
	k.Atomic.Add(1 << 63)
	k.Signed.Swap(6)
	return errors.Join(k.Chars.SetValue("bye"), k.String.Store("tschüß"))
}

func (k *kinds) check() error {
	var nested [2]pyNested
	nested[0].A, nested[1].OK[2], nested[1].C = -1, true, 1-2i
	nested[1].P[1][2].X, nested[1].P[1][2].Z = 7, 0.5
	copy(nested[1].Tag[1][:], "tag")
	return errors.Join(
		is("rawInt", k.RawInt.Get(), -42), is("rawByte", k.RawByte.Get(), 200), is("rawComplex", k.RawComplex.Get(), 1+2i),
		is("rawArray", [5]float32(k.RawArray.Slice()), [5]float32{0, 1, 2, 3, 4}),
		is("rawStruct", k.RawStruct.Get(), pyPadded{-1, 2, [2][3]float32{{}, {0, 0, 12.5}}}),
		is("chars", string(k.Chars.Raw()), "hello\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
		is("value", k.Value.Load(), 0.5), is("short", k.Short.Load(), -7), is("complex", k.Complex.Load(), 3-4i),
		is("array", [4]int32(k.Array.Raw().Slice()), [4]int32{10, 20, 30, 40}),
		is("struct", k.Struct.Load(), pyPoint{1.5, -2.5, 3, true, [3]byte([]byte("abc"))}),
		is("nested", k.Nested.Load(), nested),
		is("string", k.String.Load(), "grüße"), is("atomic", k.Atomic.Load(), 1<<63), is("signed", k.Signed.Load(), -5),
		is("lock", k.Mutex.TryLock(), true), is("word", unlocked(k.Mutex), 0),
	)
}

func (k *kinds) checkChanged() error {
	nested := k.Nested.Load()
	return errors.Join(
		is("rawInt", k.RawInt.Get(), -41), is("rawByte", k.RawByte.Get(), 44), is("rawComplex", k.RawComplex.Get(), 2+4i),
		is("rawArray", [5]float32(k.RawArray.Slice()), [5]float32{0, 1, -0.25, 3, 4}),
		is("rawStruct", k.RawStruct.Get().M[0][1], 1.5),
		is("chars", string(k.Chars.Raw()), "bye\x00o\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
		is("value", k.Value.Load(), 1.5), is("short", k.Short.Load(), 1000), is("complex", k.Complex.Load(), 3+4i),
		is("array", [4]int32(k.Array.Raw().Slice()), [4]int32{40, 20, 30, 10}),
		is("struct", k.Struct.Load(), pyPoint{1.5, -2.5, 4, false, [3]byte([]byte("abc"))}),
		is("nested", nested[1].P[1][2].Z, 1.5), is("nested", nested[0].OK, [3]bool{true}), is("nested", string(nested[0].Tag[0][:]), "full"),
		is("string", k.String.Load(), "tschüß"), is("atomic", k.Atomic.Load(), 0), is("signed", k.Signed.Load(), 6),
	)
}

func unlocked(mu *Mutex) uint32 {
	mu.Unlock()
	return mu.cell.word.Load()
}

func is[T comparable](name string, have, want T) error {
	if have != want {
		return fmt.Errorf("%s: %v, want %v", name, have, want)
	}
	return nil
}

// writePairs stores structs whose ends agree.
func writePairs(s *Segment, ms string) error {
	v, err := NewStruct(s, "pair", pyPair{})
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(ms)
	if err != nil {
		return err
	}
	for end := monotonic() + int64(n)*1e6; monotonic() < end; {
		v.Update(func(p *pyPair) {
			if p.A[0] != p.A[4095] {
				err = fmt.Errorf("torn: %d and %d", p.A[0], p.A[4095])
			}
			x := p.A[0] + 1
			for i := range p.A {
				p.A[i] = x
			}
		})
		if p := v.Load(); p.A[0] != p.A[4095] {
			err = fmt.Errorf("torn: %d and %d", p.A[0], p.A[4095])
		}
	}
	return err
}

func growForPython(s *Segment, words []string) (string, error) {
	v, err := NewStruct(s, "struct", pyLonger{})
	if err != nil {
		return "", err
	}
	if words[0] == "growAndSet" {
		n, err := strconv.Atoi(words[1])
		v.Update(func(p *pyLonger) { p.Extra = int32(n) })
		return "ok", err
	}
	p := v.Load()
	return fmt.Sprint(p.N, p.More, p.Extra), nil
}

// passToPython hands an anonymous and a named segment to an interpreter.
func passToPython(named *Segment, python string) (string, error) {
	s, err := Anonymous(&Options{MaxSize: 1 << 20})
	if err != nil {
		return "", err
	}
	defer s.Close()
	v, err := NewValue[int64](s, "n", 40)
	if err != nil {
		return "", err
	}
	if _, err := NewRawValue[int64](named, "rawInt", -42); err != nil {
		return "", err
	}
	cmd := exec.Command(python, "-c", "import shm, sys\n"+
		"shm.inherited()['n'].add(1)\n"+
		"shm.inherited()['n'].add(1)\n"+
		"print(shm.inherited(sys.argv[1])['rawInt'].value)", named.Name())
	cmd.Stderr = os.Stderr
	s.Pass(cmd)
	named.Pass(cmd)
	v.Mutex().Lock() // it waits for us, and then is alone
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	v.Raw().Set(39)
	v.Mutex().Unlock()
	lines := bufio.NewScanner(out)
	lines.Scan()
	if err := cmd.Wait(); err != nil {
		return "", err
	}
	return fmt.Sprintf("anonymous %d named %s", v.Load(), lines.Text()), nil
}
