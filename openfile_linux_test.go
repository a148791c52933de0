package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

func TestAnonymousIsSealedAndGrows(t *testing.T) {
	before := sharedNames()
	s, err := Anonymous(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if after := sharedNames(); len(after) > len(before) {
		t.Fatalf("it has a name: %v, then %v", before, after)
	}
	if err := s.File().Truncate(0); !errors.Is(err, syscall.EPERM) {
		t.Fatalf("truncating: %v", err)
	}
	size := s.Size()
	must(NewRawArray[float64](s, "big", 1<<20))(t).Set(1<<20-1, 1)
	if s.Size() < size+8<<20 {
		t.Fatalf("%d bytes after growth from %d", s.Size(), size)
	}
	for _, o := range []Options{{ReadOnly: true}, {MustExist: true}, {Foreign: true}} {
		if _, err := Anonymous(&o); !errors.Is(err, fs.ErrInvalid) {
			t.Fatalf("%+v: %v", o, err)
		}
	}
}

// adopter attaches to its inherited descriptor 3, then answers "get", "set N" and
// "make N".
var adopter = helper("adopter", func(args []string) error {
	f := os.NewFile(3, "inherited")
	s, err := OpenFile(f, nil)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	v, err := NewRawValue(s, "n", int64(0))
	if err != nil {
		return err
	}
	return replies(func(words []string) (string, error) {
		switch words[0] {
		case "set":
			n, err := strconv.ParseInt(words[1], 10, 64)
			v.Set(n)
			return "set", err
		case "make":
			n, err := strconv.Atoi(words[1])
			if err != nil {
				return "", err
			}
			_, err = NewRawArray[byte](s, "made by the child", n)
			return "made", err
		}
		return fmt.Sprint(v.Get()), nil
	})
})

func TestOpenFileOfAnInheritedDescriptor(t *testing.T) {
	s := must(Anonymous(nil))(t)
	defer s.Close()
	v := must(NewRawValue(s, "n", int64(5)))(t)
	p := startWithFiles(t, adopter, s.File())
	p.say("get")
	p.expect("5")
	p.say("set 6")
	p.expect("set")
	if v.Get() != 6 {
		t.Fatal("the child's Set is not seen")
	}
	p.say("make 3000000")
	p.expect("made")
	if a := must(NewRawArray[byte](s, "made by the child", 0))(t); a.Len() != 3_000_000 {
		t.Fatalf("length %d", a.Len())
	}
}

func TestOpenFileRefusesWhatIsNoSegment(t *testing.T) {
	dir := t.TempDir()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	closed := must(os.Create(filepath.Join(dir, "closed")))(t)
	closed.Close()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("some text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file *os.File
		want error
	}{
		{r, ErrInsecure}, {must(os.Open(dir))(t), ErrInsecure}, {must(os.Open(os.DevNull))(t), ErrInsecure},
		{must(os.Open(text))(t), ErrFormat}, {closed, fs.ErrClosed}, {nil, fs.ErrInvalid},
	} {
		s, err := OpenFile(c.file, &Options{ReadOnly: true})
		if s != nil || !errors.Is(err, c.want) {
			t.Errorf("%v: %v, want %v", c.file, err, c.want)
		}
		var path *fs.PathError
		if !errors.As(err, &path) {
			t.Errorf("%v: %T, want a *fs.PathError", c.file, err)
		}
		if c.file != nil {
			c.file.Close()
		}
	}
}

func TestOpenFileOfAReadOnlyDescriptor(t *testing.T) {
	name := testName(t)
	must(NewRawValue(open(t, name, nil), "n", int16(3)))(t)
	f := must(os.Open(Path(name)))(t)
	defer f.Close()
	if s, err := OpenFile(f, nil); !errors.Is(err, fs.ErrPermission) {
		t.Fatalf("%v, %v", s, err)
	}
	s := must(OpenFile(f, &Options{ReadOnly: true}))(t)
	defer s.Close()
	if got := must(NewRawValue(s, "n", int16(0)))(t).Get(); got != 3 {
		t.Fatalf("got %d", got)
	}
}
