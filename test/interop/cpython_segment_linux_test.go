package interop_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// These tests do in Go what CPython's own tests do with SharedMemory,
// ShareableList and Lock. docs/sharedctypes-tests.md says which case of CPython is
// which test.

func TestSegmentHasANameAndASize(t *testing.T) {
	name := shmtest.Name(t)
	s := shmtest.Opened(shm.Open(name, &shm.Options{Exclusive: true, MaxSize: 1 << 20}))(t)
	a := shmtest.Must(shm.NewRawArray[byte](s, "buf", 512))(t)
	if s.Name() != name || s.Size() < 512 || len(a.Slice()) != 512 {
		t.Errorf("%q of %d bytes, %d of them an array", s.Name(), s.Size(), len(a.Slice()))
	}
	if info := shmtest.Must(os.Stat(shm.Path(name)))(t); info.Size() != s.Size() {
		t.Errorf("%d bytes, the file has %d", s.Size(), info.Size())
	}
	a.Set(0, 42)
	// A second attachment, and one that asks for another size, which has no
	// effect: the size is the creator's.
	also := shmtest.Opened(shm.Open(name, &shm.Options{MustExist: true}))(t)
	same := shmtest.Opened(shm.Open(name, &shm.Options{MaxSize: 1 << 30}))(t)
	for _, s := range []*shm.Segment{also, same} {
		if got := shmtest.Must(shm.NewRawArray[byte](s, "buf", 0))(t); got.Len() != 512 || got.Get(0) != 42 {
			t.Errorf("%d bytes, the first is %d", got.Len(), got.Get(0))
		}
		if s.Size() >= 1<<20 {
			t.Errorf("%d bytes", s.Size())
		}
		if _, err := shm.NewRawArray[byte](s, "large", 2<<20); !errors.Is(err, shm.ErrFull) {
			t.Errorf("more than the creator's MaxSize: %v", err)
		}
	}
	if _, err := shm.Open(name, &shm.Options{Exclusive: true}); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if err := also.Close(); err != nil || a.Get(0) != 42 {
		t.Errorf("%v, %d", err, a.Get(0))
	}
	// A name can be removed once. Nobody can attach by it after that.
	if err := shm.Remove(name); err != nil {
		t.Error(err)
	}
	if err := shm.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed twice: %v", err)
	}
	if _, err := shm.Open(name, &shm.Options{MustExist: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Remove: %v", err)
	}
	if a.Get(0) != 42 {
		t.Error("the memory is gone with the name")
	}
}

// greeter writes its third argument into a segment. It attaches to the segment by
// its name or inherits it, as the first argument says.
var greeter = shmtest.Helper("greeter", func(args []string) error {
	attach := func() (*shm.Segment, error) { return shm.Inherited(args[1], nil) }
	if args[0] == "name" {
		attach = func() (*shm.Segment, error) { return shm.Open(args[1], &shm.Options{MustExist: true}) }
	}
	s, err := attach()
	if err != nil {
		return err
	}
	buf, err := shm.NewCharArray(s, "buf", 0)
	if err != nil {
		return err
	}
	return errors.Join(buf.SetRaw([]byte(args[2])), s.Close())
})

func TestChildWritesToASegment(t *testing.T) {
	t.Parallel()
	name := shmtest.Name(t)
	s := shmtest.Opened(shm.Open(name, nil))(t)
	buf := shmtest.Must(shm.NewCharArray(s, "buf", 512))(t)
	shmtest.Start(t, greeter, "name", name, "howdy").Wait()
	if got := string(buf.Raw()[:6]); got != "howdy\x00" {
		t.Errorf("%q by a child that has the name", got)
	}
	// Pass hands over the segment itself, also if its name has been removed.
	if err := shm.Remove(name); err != nil {
		t.Fatal(err)
	}
	shmtest.StartCmd(t, greeter, func(cmd *exec.Cmd) { s.Pass(cmd) }, "inherited", name, "HELLO").Wait()
	if got := string(buf.Raw()[:6]); got != "HELLO\x00" {
		t.Errorf("%q by a child that inherits it", got)
	}
}

// leaver makes a segment and waits until it is killed.
var leaver = shmtest.Helper("leaver", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := shm.NewValue(s, "n", int64(7))
	if err != nil {
		return err
	}
	fmt.Println("made", v.Add(1))
	return shmtest.Replies(func([]string) (string, error) { return "", nil })
})

// TestKilledMakerLeavesItsSegment kills the process that has made a segment. The
// segment stays for others, because no tracker process removes it.
func TestKilledMakerLeavesItsSegment(t *testing.T) {
	t.Parallel()
	name := shmtest.Name(t)
	p := shmtest.Start(t, leaver, name)
	p.Expect("made 8")
	p.Kill()
	s := shmtest.Opened(shm.Open(name, &shm.Options{MustExist: true}))(t)
	if v := shmtest.Must(shm.NewValue(s, "n", int64(0)))(t); v.Add(1) != 9 {
		t.Error(v.Load())
	}
	if err := shm.Remove(name); err != nil {
		t.Error(err)
	}
}

// TestListOfNamedValues puts a list of values of several types into a segment.
// Each value has a name, and keeps its type and its size.
func TestListOfNamedValues(t *testing.T) {
	name := shmtest.Name(t)
	type list struct {
		Text    shm.String         `shm:"0,len=8"`
		Bytes   shm.CharArray      `shm:"1,len=8"`
		Float   shm.Value[float64] `shm:"2"`
		Int     shm.Value[int64]   `shm:"3"`
		Flag    shm.Struct[bool]   `shm:"4"`
		Answers shm.Array[int64]   `shm:"5,len=2"`
	}
	var l, tethered list
	s := shmtest.Opened(shm.Open(name, nil))(t)
	for _, err := range []error{
		shm.Bind(s, &l), l.Text.Store("howdy"), l.Bytes.SetValue("HoWdY"), shm.Bind(shmtest.Opened(shm.Open(name, nil))(t), &tethered),
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
	if shmtest.Panic(func() { l.Answers.Load(2) }) == nil || shmtest.Panic(func() { l.Answers.Store(2, 1) }) == nil {
		t.Error("an index of 2 is accepted in an array of 2")
	}
	var mismatch *shm.LayoutError
	if _, err := shm.NewString(s, "3", 8); !errors.As(err, &mismatch) {
		t.Errorf("a number as a text: %v", err)
	}
	if _, ok := s.Lookup("6"); ok {
		t.Error("a value is found that was not made")
	}
	// A text that is too long changes nothing, nor the value beside it.
	if err := l.Text.Store("encodés"); err != nil || l.Text.Load() != "encodés" { // 8 bytes of UTF-8
		t.Errorf("%v, %q", err, l.Text.Load())
	}
	if err := l.Text.Store("encodées"); !errors.Is(err, shm.ErrTooLong) || l.Text.Load() != "encodés" {
		t.Errorf("%v, %q", err, l.Text.Load())
	}
	if err := l.Bytes.SetValue("123456789"); !errors.Is(err, shm.ErrTooLong) || l.Bytes.Value() != "HoWdY" {
		t.Errorf("%v, %q", err, l.Bytes.Value())
	}
	// A second attachment has the same list. A segment of another name has
	// another.
	tethered.Int.Store(880)
	if l.Int.Load() != 880 {
		t.Error(l.Int.Load())
	}
	var other list
	if err := shm.Bind(shmtest.Opened(shm.Open(shmtest.Name(t), nil))(t), &other); err != nil {
		t.Fatal(err)
	}
	other.Int.Store(77)
	if l.Int.Load() != 880 || tethered.Int.Load() != 880 {
		t.Error(l.Int.Load())
	}
	for e := range shmtest.Opened(shm.Open(shmtest.Name(t), nil))(t).Entries() {
		t.Errorf("%s is in an empty segment", e.Name)
	}
}

// TestLockIsTakenOnce: unlike CPython's RLock, a lock also excludes its holder.
func TestLockIsTakenOnce(t *testing.T) {
	s := shmtest.Opened(shm.Open(shmtest.Name(t), nil))(t)
	mu := shmtest.Must(shm.NewMutex(s, "lock"))(t)
	if !mu.TryLock() || mu.TryLock() {
		t.Error("the lock is not taken exactly once")
	}
	mu.Unlock()
	cell := mem.BytesOf(agent.Cell(t, s, "lock"))
	before := string(cell)
	if shmtest.Panic(mu.Unlock) == nil || string(cell) != before {
		t.Error("a free lock is unlocked")
	}
	func() {
		mu.Lock()
		defer mu.Unlock()
	}()
	if !mu.TryLock() {
		t.Error("the lock is not free after an unlock")
	}
	mu.Unlock()
}
