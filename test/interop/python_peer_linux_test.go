package interop_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

type pyPoint struct {
	X, Y float64
	N    int32
	OK   bool
	Tag  [3]byte `shm:"tag,char"`
}

// pyLonger is what Python's tests let a pyPoint grow into, with one more field.
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

// pyNested has every kind of field.
type pyNested struct {
	A int8
	_ [7]byte // explicit, so that 32-bit systems have it too
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

// pyPair is so long that commits can overtake a copy.
type pyPair struct{ A [4096]int64 }

// kinds is a value of every kind.
type kinds struct {
	RawInt     shm.RawValue[int64]     `shm:"rawInt"`
	RawByte    shm.RawValue[uint8]     `shm:"rawByte"`
	RawComplex shm.RawValue[complex64] `shm:"rawComplex"`
	RawArray   shm.RawArray[float32]   `shm:"rawArray,len=5"`
	RawStruct  shm.RawStruct[pyPadded] `shm:"rawStruct"`
	Chars      shm.CharArray           `shm:"chars,len=16"`
	Value      shm.Value[float64]      `shm:"value"`
	Short      shm.Value[int16]        `shm:"short"`
	Complex    shm.Value[complex64]    `shm:"complex"`
	Array      shm.Array[int32]        `shm:"array,len=4"`
	Struct     shm.Struct[pyPoint]     `shm:"struct"`
	Nested     shm.Struct[[2]pyNested] `shm:"nested"`
	String     shm.String              `shm:"string,len=32"`
	Atomic     shm.Atomic[uint64]      `shm:"atomic"`
	Signed     shm.Atomic[int32]       `shm:"signed"`
	Mutex      *shm.Mutex              `shm:"mutex"`
}

// pythonPeer does what python/tests ask for, one line at a time, and answers ok or
// an error.
var pythonPeer = shmtest.Helper("pythonPeer", func(args []string) error {
	s, err := shm.Open(args[0], &shm.Options{MaxSize: 1 << 20})
	if err != nil {
		return err
	}
	return shmtest.Replies(func(words []string) (string, error) {
		answer, err := peerObeys(s, words)
		if err != nil {
			return strings.ReplaceAll(err.Error(), "\n", "; "), nil
		}
		return answer, nil
	})
})

func peerObeys(s *shm.Segment, words []string) (answer string, err error) {
	switch words[0] {
	case "pair":
		_, err = shm.NewStruct(s, "pair", pyPair{})
		return "ok", err
	case "writePairs":
		return "ok", writePairs(s, words[1])
	case "pass": // to an interpreter
		return passToPython(s, words[1])
	case "text", "parse":
		return showForPython(s, words)
	case "growAndSet", "grown":
		return growForPython(s, words)
	}
	var k kinds
	if err := shm.Bind(s, &k); err != nil {
		return "", err
	}
	switch words[0] {
	case "make":
		return "ok", k.make()
	case "check":
		return "ok", k.check(s)
	case "change":
		return "ok", k.change()
	case "checkChanged":
		return "ok", k.checkChanged()
	case "misfits":
		_, err := shm.NewRawValue[uint64](s, "rawInt", 0)
		var mismatch *shm.LayoutError
		if !errors.As(err, &mismatch) || mismatch.Pid != os.Getppid() {
			return "", fmt.Errorf("no mismatch: %v", err)
		}
		return "ok", nil
	}
	return "", fmt.Errorf("what is %q", words)
}

// make, change, check and checkChanged have their counterparts in
// python/tests/test_kinds.py.
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

func (k *kinds) check(s *shm.Segment) error {
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
		is("lock", k.Mutex.TryLock(), true), is("word", unlocked(s, k.Mutex), 0),
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

// unlocked unlocks the value "mutex" and returns its lock word.
func unlocked(s *shm.Segment, mu *shm.Mutex) uint32 {
	mu.Unlock()
	return agent.Cell(shmtest.InHelper, s, "mutex").Word.Load()
}

func is[T comparable](name string, have, want T) error {
	if have != want {
		return fmt.Errorf("%s: %v, want %v", name, have, want)
	}
	return nil
}

// writePairs stores structs whose numbers are all equal, for so many
// milliseconds.
func writePairs(s *shm.Segment, ms string) error {
	v, err := shm.NewStruct(s, "pair", pyPair{})
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(ms)
	if err != nil {
		return err
	}
	for end := time.Now().Add(time.Duration(n) * time.Millisecond); time.Now().Before(end); {
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

func growForPython(s *shm.Segment, words []string) (string, error) {
	v, err := shm.NewStruct(s, "struct", pyLonger{})
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
func passToPython(named *shm.Segment, python string) (string, error) {
	s, err := shm.Anonymous(&shm.Options{MaxSize: 1 << 20})
	if err != nil {
		return "", err
	}
	defer s.Close()
	v, err := shm.NewValue[int64](s, "n", 40)
	if err != nil {
		return "", err
	}
	if _, err := shm.NewRawValue[int64](named, "rawInt", -42); err != nil {
		return "", err
	}
	cmd := exec.Command(python, "-c", "import shm, sys\n"+
		"shm.inherited()['n'].add(1)\n"+
		"shm.inherited()['n'].add(1)\n"+
		"print(shm.inherited(sys.argv[1])['rawInt'].value)", named.Name())
	cmd.Stderr = os.Stderr
	s.Pass(cmd)
	named.Pass(cmd)
	v.Mutex().Lock() // The child waits for it, and then nobody holds it.
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
