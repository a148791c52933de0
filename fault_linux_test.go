package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"unsafe"
)

type wide struct{ A [512]int64 }

// cutForeign uses foreign memory whose file was cut off since it was mapped. It
// is a process of its own, which a fault would end.
var cutForeign = helper("cutForeign", func(args []string) error {
	path, length := args[0], 3*pageSize
	if err := os.WriteFile(path, []byte(strings.Repeat("x", int(length))), 0o600); err != nil {
		return err
	}
	s, err := Open(path, &Options{Foreign: true})
	if err != nil {
		return err
	}
	ro, err := Open(path, &Options{Foreign: true, ReadOnly: true})
	if err != nil {
		return err
	}
	text, err1 := CharArrayAt(s, 0, int(length))
	start, err2 := CharArrayAt(s, 0, 200)
	seen, err3 := CharArrayAt(ro, 0, int(length))
	last, err4 := RawValueAt[int64](s, length-8)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	// Not cut off, but mapped for reading.
	if err1, err2 := seen.SetValue("y"), seen.SetRaw([]byte("y")); !errors.Is(err1, ErrReadOnly) || !errors.Is(err2, ErrReadOnly) {
		return fmt.Errorf("read-only: %w, %w", err1, err2)
	}
	if err := os.Truncate(path, 100); err != nil {
		return err
	}
	// The page in which the file ends is there, with zeros behind the end.
	if err := start.SetValue("abc"); err != nil {
		return err
	}
	if got := string(start.Raw()); got[:4] != "abc\x00" || got[100:] != strings.Repeat("\x00", 100) {
		return fmt.Errorf("the page in which it ends: %q", got)
	}
	for what, f := range map[string]func() error{
		"Value":            func() error { _ = text.Value(); return nil },
		"Raw":              func() error { _ = text.Raw(); return nil },
		"read-only, Value": func() error { _ = seen.Value(); return nil },
		"SetValue":         func() error { return text.SetValue(strings.Repeat("y", int(length))) },
		"SetRaw":           func() error { return text.SetRaw(make([]byte, length)) },
	} {
		var err error
		if r := panicOf(func() { err = f() }); r != nil {
			err, _ = r.(error)
		}
		if !errors.Is(err, ErrFormat) || !isPathError(err, path) || !strings.Contains(err.Error(), "cut off") {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	// What a program can do for itself, as docs/foreign.md says.
	debug.SetPanicOnFault(true)
	fault, ok := panicOf(func() { last.Get() }).(interface{ Addr() uintptr })
	if !ok || fault.Addr() != uintptr(unsafe.Pointer(last.Ptr())) {
		return fmt.Errorf("Get: %v", fault)
	}
	debug.SetPanicOnFault(false)
	fmt.Println("all but Get")
	last.Get()
	return errors.New("Get of what is not there")
})

func TestForeignMemoryThatIsCutOff(t *testing.T) {
	var complaints strings.Builder
	p := startCmd(t, cutForeign, func(cmd *exec.Cmd) { cmd.Stderr = &complaints }, filepath.Join(t.TempDir(), "foreign"))
	if !p.lines.Scan() || p.lines.Text() != "all but Get" {
		_ = p.cmd.Wait()
		t.Fatal(complaints.String())
	}
	if err := p.cmd.Wait(); err == nil || !strings.Contains(complaints.String(), "unexpected fault address") {
		t.Fatalf("%v\n%s", err, complaints.String())
	}
}

// cutSegment uses a segment that was cut off at a length.
var cutSegment = helper("cutSegment", func(args []string) error {
	name := args[0]
	s, err := Open(name, nil)
	if err != nil {
		return err
	}
	makers := map[string]func(name string) error{
		"raw":    func(name string) error { return second(NewRawValue(s, name, int64(1))) },
		"array":  func(name string) error { return second(NewRawArray[int64](s, name, 2048)) },
		"value":  func(name string) error { return second(NewValue(s, name, int64(1))) },
		"struct": func(name string) error { return second(NewStruct(s, name, wide{})) },
		"mutex":  func(name string) error { return second(NewMutex(s, name)) },
	}
	for what, make := range makers {
		if err := make(what); err != nil {
			return err
		}
	}
	_, err = NewStruct(s, "last", wide{})
	if err != nil {
		return err
	}
	size := s.Size()
	for _, cut := range []int64{size - pageSize, headerSize, 100, 0} {
		if err := os.Truncate(Path(name), cut); err != nil {
			return err
		}
		for what, make := range makers {
			// What is known may be found without a look at what is gone.
			if err := make(what); err != nil && !errors.Is(err, ErrFormat) {
				return fmt.Errorf("%s that is there, cut at %d: %w", what, cut, err)
			}
			if err := make(fmt.Sprint("new ", what, cut)); cut <= headerSize && !errors.Is(err, ErrFormat) {
				return fmt.Errorf("new %s, cut at %d: %w", what, cut, err)
			}
		}
		if err := second(NewStruct(s, "last", wide{})); cut <= headerSize && !errors.Is(err, ErrFormat) {
			return fmt.Errorf("cell that is gone, cut at %d: %w", cut, err)
		}
		for range s.Entries() {
		}
		s.Lookup("raw")
		if cut == 0 {
			if err := errors.Join(second(Open(name, nil)), s.Sync(), s.m.Load().settle(s.File())); s.Size() != 0 || strings.Count(err.Error(), ErrFormat.Error()) != 3 {
				return fmt.Errorf("size %d, Open, Sync and what Open does last: %w", s.Size(), err)
			}
		}
	}
	var path *fs.PathError
	if err := makers["raw"]("raw"); !errors.As(err, &path) || path.Path != Path(name) || !strings.Contains(err.Error(), "cut off") {
		return fmt.Errorf("of what is gone: %w", err)
	}
	return nil
})

func TestSegmentThatIsCutOffInUse(t *testing.T) {
	start(t, cutSegment, testName(t)).wait()
}
