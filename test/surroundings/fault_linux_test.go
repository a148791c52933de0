package surroundings_test

import (
	"context"
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

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"example.org/shm/test/agent"
)

// cutForeign uses foreign memory whose file was cut off after it was mapped. It is a
// process of its own, because a fault ends it.
var cutForeign = shmtest.Helper("cutForeign", func(args []string) error {
	path, length := args[0], 3*sys.PageSize
	if err := os.WriteFile(path, []byte(strings.Repeat("x", int(length))), 0o600); err != nil {
		return err
	}
	s, err := shm.Open(path, &shm.Options{Foreign: true})
	if err != nil {
		return err
	}
	ro, err := shm.Open(path, &shm.Options{Foreign: true, ReadOnly: true})
	if err != nil {
		return err
	}
	text, err1 := shm.CharArrayAt(s, 0, int(length))
	start, err2 := shm.CharArrayAt(s, 0, 200)
	seen, err3 := shm.CharArrayAt(ro, 0, int(length))
	last, err4 := shm.RawValueAt[int64](s, length-8)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	// This is mapped for reading, and not cut off yet.
	if err1, err2 := seen.SetValue("y"), seen.SetRaw([]byte("y")); !errors.Is(err1, shm.ErrReadOnly) || !errors.Is(err2, shm.ErrReadOnly) {
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
		if r := shmtest.Panic(func() { err = f() }); r != nil {
			err, _ = r.(error)
		}
		if !errors.Is(err, shm.ErrFormat) || !shmtest.IsPathError(err, path) || !strings.Contains(err.Error(), "cut off") {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	// A program can do this for itself: docs/foreign.md says how.
	debug.SetPanicOnFault(true)
	fault, ok := shmtest.Panic(func() { last.Get() }).(interface{ Addr() uintptr })
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
	p := shmtest.StartCmd(t, cutForeign, func(cmd *exec.Cmd) { cmd.Stderr = &complaints }, filepath.Join(t.TempDir(), "foreign"))
	if line, _ := p.Next(); line != "all but Get" {
		_ = p.End()
		t.Fatalf("%q\n%s", line, complaints.String())
	}
	if err := p.End(); err == nil || !strings.Contains(complaints.String(), "unexpected fault address") {
		t.Fatalf("%v\n%s", err, complaints.String())
	}
}

type wide struct{ A [512]int64 }

// cutSegment uses a segment whose file is cut off, again and again.
var cutSegment = shmtest.Helper("cutSegment", func(args []string) error {
	name := args[0]
	s, err := shm.Open(name, nil)
	if err != nil {
		return err
	}
	makers := map[string]func(name string) error{
		"raw":    func(name string) error { return shmtest.Error(shm.NewRawValue(s, name, int64(1))) },
		"array":  func(name string) error { return shmtest.Error(shm.NewRawArray[int64](s, name, 2048)) },
		"value":  func(name string) error { return shmtest.Error(shm.NewValue(s, name, int64(1))) },
		"struct": func(name string) error { return shmtest.Error(shm.NewStruct(s, name, wide{})) },
		"mutex":  func(name string) error { return shmtest.Error(shm.NewMutex(s, name)) },
	}
	for what, make := range makers {
		if err := make(what); err != nil {
			return err
		}
	}
	last := func() error { return shmtest.Error(shm.NewStruct(s, "last", wide{})) }
	if err := last(); err != nil {
		return err
	}
	size := s.Size()
	for _, cut := range []int64{size - sys.PageSize, format.HeaderSize, 100, 0} {
		if err := os.Truncate(shm.Path(name), cut); err != nil {
			return err
		}
		for what, make := range makers {
			// A value that is known may be found without a look at what is gone.
			if err := make(what); err != nil && !errors.Is(err, shm.ErrFormat) {
				return fmt.Errorf("%s that is there, cut at %d: %w", what, cut, err)
			}
			if err := make(fmt.Sprint("new ", what, cut)); cut <= format.HeaderSize && !errors.Is(err, shm.ErrFormat) {
				return fmt.Errorf("new %s, cut at %d: %w", what, cut, err)
			}
		}
		if err := last(); cut <= format.HeaderSize && !errors.Is(err, shm.ErrFormat) {
			return fmt.Errorf("cell that is gone, cut at %d: %w", cut, err)
		}
		for range s.Entries() {
		}
		s.Lookup("raw")
	}
	if err := errors.Join(shmtest.Error(shm.Open(name, nil)), s.Sync()); s.Size() != 0 || strings.Count(err.Error(), shm.ErrFormat.Error()) != 2 {
		return fmt.Errorf("size %d, Open and Sync: %w", s.Size(), err)
	}
	var path *fs.PathError
	if err := makers["raw"]("raw"); !errors.As(err, &path) || path.Path != shm.Path(name) || !strings.Contains(err.Error(), "cut off") {
		return fmt.Errorf("of what is gone: %w", err)
	}
	return s.Close()
})

func TestSegmentThatIsCutOffInUse(t *testing.T) {
	shmtest.NeedLinux(t, "reservation that leaves a file as short as somebody has cut it: it writes zeros")
	shmtest.Start(t, cutSegment, shmtest.Name(t)).Wait()
}

// cutWaiter waits for a lock that another process holds, and says how that ends.
var cutWaiter = shmtest.Helper("cutWaiter", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := shm.NewValue(s, agent.ValueName, int64(0))
	if err != nil {
		return err
	}
	fmt.Println("waits")
	_, err = v.UpdateContext(context.Background(), func(n int64) (int64, error) { return n + 1, nil })
	fmt.Println(errors.Is(err, shm.ErrFormat), err)
	return s.Close()
})

// A process that waits for a lock gets an error if the file is cut off meanwhile, and
// the goroutine that watches the holder does not end the process.
func TestWaitInAFileThatIsCutOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "segment")
	holder := agent.Start(t, path)
	holder.Do("lock", "locked")
	p := shmtest.Start(t, cutWaiter, path)
	p.Expect("waits")
	agent.Sleeping(t, agent.Cell(t, shmtest.Opened(shm.Open(path, nil))(t), agent.ValueName), true)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if line := p.Line(); !strings.HasPrefix(line, "true ") {
		t.Error(line)
	}
	p.Wait()
	holder.Kill()
}
