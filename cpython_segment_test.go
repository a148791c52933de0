//go:build linux

package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// What CPython's tests want of SharedMemory, of ShareableList and of Lock, in
// Go; which case is which test, docs/sharedctypes-tests.md says.

func TestSegmentHasANameAndASize(t *testing.T) {
	name := testName(t)
	s := open(t, name, &Options{Exclusive: true, MaxSize: 1 << 20})
	a := must(NewRawArray[byte](s, "buf", 512))(t)
	if s.Name() != name || s.Size() < 512 || len(a.Slice()) != 512 {
		t.Errorf("%q of %d bytes, %d of them an array", s.Name(), s.Size(), len(a.Slice()))
	}
	if info := must(os.Stat(Path(name)))(t); info.Size() != s.Size() {
		t.Errorf("%d bytes, the file has %d", s.Size(), info.Size())
	}
	a.Set(0, 42)
	// A second attachment, and one that asks for another size, which is the
	// maker's to say.
	also := open(t, name, &Options{MustExist: true})
	same := open(t, name, &Options{MaxSize: 1 << 30})
	for _, s := range []*Segment{also, same} {
		if got := must(NewRawArray[byte](s, "buf", 0))(t); got.Len() != 512 || got.Get(0) != 42 {
			t.Errorf("%d bytes, the first is %d", got.Len(), got.Get(0))
		}
		if s.Size() >= 1<<20 {
			t.Errorf("%d bytes", s.Size())
		}
		if _, err := NewRawArray[byte](s, "large", 2<<20); !errors.Is(err, ErrFull) {
			t.Errorf("more than the maker's MaxSize: %v", err)
		}
	}
	if _, err := Open(name, &Options{Exclusive: true}); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if err := also.Close(); err != nil || a.Get(0) != 42 {
		t.Errorf("%v, %d", err, a.Get(0))
	}
	// A name can be removed once; who only heard of it finds nothing then.
	if err := Remove(name); err != nil {
		t.Error(err)
	}
	if err := Remove(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed twice: %v", err)
	}
	if _, err := Open(name, &Options{MustExist: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Remove: %v", err)
	}
	if a.Get(0) != 42 {
		t.Error("the memory is gone with the name")
	}
}

// greeter writes its second argument into a segment that it attaches to by
// name, or inherits.
var greeter = helper("greeter", func(args []string) error {
	attach := func() (*Segment, error) { return Inherited(args[1], nil) }
	if args[0] == "name" {
		attach = func() (*Segment, error) { return Open(args[1], &Options{MustExist: true}) }
	}
	s, err := attach()
	if err != nil {
		return err
	}
	buf, err := NewCharArray(s, "buf", 0)
	if err != nil {
		return err
	}
	return errors.Join(buf.SetRaw([]byte(args[2])), s.Close())
})

func TestChildWritesToASegment(t *testing.T) {
	t.Parallel()
	name := testName(t)
	s := open(t, name, nil)
	buf := must(NewCharArray(s, "buf", 512))(t)
	start(t, greeter, "name", name, "howdy").wait()
	if got := string(buf.Raw()[:6]); got != "howdy\x00" {
		t.Errorf("%q by a child that has the name", got)
	}
	// What is handed over is the segment itself, also when its name is gone.
	if err := Remove(name); err != nil {
		t.Fatal(err)
	}
	startCmd(t, greeter, func(cmd *exec.Cmd) { s.Pass(cmd) }, "inherited", name, "HELLO").wait()
	if got := string(buf.Raw()[:6]); got != "HELLO\x00" {
		t.Errorf("%q by a child that inherits it", got)
	}
}

// leaver makes a segment and waits to be killed.
var leaver = helper("leaver", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := NewValue(s, "n", int64(7))
	if err != nil {
		return err
	}
	fmt.Println("made", v.Add(1))
	return replies(func([]string) (string, error) { return "", nil })
})

// TestKilledMakerLeavesItsSegment: no tracker removes what others may use.
func TestKilledMakerLeavesItsSegment(t *testing.T) {
	t.Parallel()
	name := testName(t)
	p := start(t, leaver, name)
	p.expect("made 8")
	p.kill()
	s := open(t, name, &Options{MustExist: true})
	if v := must(NewValue(s, "n", int64(0)))(t); v.Add(1) != 9 {
		t.Error(v.Load())
	}
	if err := Remove(name); err != nil {
		t.Error(err)
	}
}

// TestListOfNamedValues has what a list of values of several types is in a
// segment: each has a name and keeps its type and its room.
func TestListOfNamedValues(t *testing.T) {
	name := testName(t)
	type list struct {
		Text    String         `shm:"0,len=8"`
		Bytes   CharArray      `shm:"1,len=8"`
		Float   Value[float64] `shm:"2"`
		Int     Value[int64]   `shm:"3"`
		Flag    Struct[bool]   `shm:"4"`
		Answers Array[int64]   `shm:"5,len=2"`
	}
	var l, tethered list
	s := open(t, name, nil)
	for _, err := range []error{
		Bind(s, &l), l.Text.Store("howdy"), l.Bytes.SetValue("HoWdY"), Bind(open(t, name, nil), &tethered),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	l.Float.Store(-273.154)
	l.Int.Store(100)
	l.Flag.Store(true)
	l.Answers.Store(0, 42)
	all := func() string {
		var b strings.Builder
		for e := range s.Entries() {
			fmt.Fprintf(&b, "%s=%s ", e.Name, e.Text())
		}
		return strings.TrimSpace(b.String())
	}
	if got := all(); got != `0="howdy" 1="HoWdY" 2=-273.154 3=100 4=true 5=[42, 0]` {
		t.Error(got)
	}
	// Out of range, and of another type.
	if panicOf(func() { l.Answers.Load(2) }) == nil || panicOf(func() { l.Answers.Store(2, 1) }) == nil {
		t.Error("there is a third of two")
	}
	var mismatch *LayoutError
	if _, err := NewString(s, "3", 8); !errors.As(err, &mismatch) {
		t.Errorf("a number as a text: %v", err)
	}
	if _, ok := s.Lookup("6"); ok {
		t.Error("there is a seventh")
	}
	// What does not fit changes nothing, and spills into nothing.
	if err := l.Text.Store("encodés"); err != nil || l.Text.Load() != "encodés" { // 8 bytes of UTF-8
		t.Errorf("%v, %q", err, l.Text.Load())
	}
	if err := l.Text.Store("encodées"); !errors.Is(err, ErrTooLong) || l.Text.Load() != "encodés" {
		t.Errorf("%v, %q", err, l.Text.Load())
	}
	if err := l.Bytes.SetValue("123456789"); !errors.Is(err, ErrTooLong) || l.Bytes.Value() != "HoWdY" {
		t.Errorf("%v, %q", err, l.Bytes.Value())
	}
	// A second attachment is the same list; one by another name is another.
	tethered.Int.Store(880)
	if l.Int.Load() != 880 {
		t.Error(l.Int.Load())
	}
	var other list
	if err := Bind(open(t, testName(t), nil), &other); err != nil {
		t.Fatal(err)
	}
	other.Int.Store(77)
	if l.Int.Load() != 880 || tethered.Int.Load() != 880 {
		t.Error(l.Int.Load())
	}
	for e := range open(t, testName(t), nil).Entries() {
		t.Errorf("%s in an empty one", e.Name)
	}
}

// TestLockIsTakenOnce: unlike CPython's RLock, a lock excludes its holder too.
func TestLockIsTakenOnce(t *testing.T) {
	mu := must(NewMutex(open(t, testName(t), nil), "lock"))(t)
	if !mu.TryLock() || mu.TryLock() {
		t.Error("not once")
	}
	mu.Unlock()
	before := cellBytes(mu)
	if panicOf(mu.Unlock) == nil || cellBytes(mu) != before {
		t.Error("a free lock is unlocked")
	}
	func() {
		mu.Lock()
		defer mu.Unlock()
	}()
	if !mu.TryLock() {
		t.Error("it is not free afterwards")
	}
	mu.Unlock()
}
