//go:build linux

package shm

import (
	"errors"
	"io/fs"
	"math"
	"strings"
	"syscall"
	"testing"
)

// reason names the kind of an error.
func reason(err error) string {
	for _, e := range []error{ErrInsecure, ErrFormat, fs.ErrPermission, fs.ErrNotExist} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return err.Error()
}

func TestNamesThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name string
		want error
	}{
		{"", fs.ErrInvalid}, {".", fs.ErrInvalid}, {"..", fs.ErrInvalid}, {"/", fs.ErrInvalid}, {"//", fs.ErrInvalid},
		{"a\x00b", fs.ErrInvalid}, {dir + "/a\x00", fs.ErrInvalid}, {dir + "/../x", fs.ErrInvalid}, {"/../x", fs.ErrInvalid},
		{dir + "/", fs.ErrInvalid}, {dir + "/.", fs.ErrInvalid}, {dir + "/..", fs.ErrInvalid},
		{strings.Repeat("n", 256), syscall.ENAMETOOLONG}, {dir + "/" + strings.Repeat("n", 256), syscall.ENAMETOOLONG},
		{strings.Repeat("/nnnnnnn", 512), syscall.ENAMETOOLONG},
		{dir + "/missing/x", fs.ErrNotExist}, {dir, ErrInsecure},
	} {
		s, err := Open(c.name, nil)
		if s != nil || !errors.Is(err, c.want) {
			t.Errorf("Open(%.40q): %v, %v; want %v", c.name, s, err, c.want)
			continue
		}
		var path *fs.PathError
		if !errors.As(err, &path) || path.Path != c.name || path.Err == nil || !strings.Contains(err.Error(), c.name) {
			t.Errorf("Open(%.40q): %#v does not name the path", c.name, err)
		}
		if c.want == ErrInsecure {
			continue
		}
		if err := Remove(c.name); !errors.Is(err, c.want) || !errors.As(err, &path) {
			t.Errorf("Remove(%.40q): %v; want %v", c.name, err, c.want)
		}
	}
	// What looks odd but is a name.
	for _, name := range []string{testName(t) + " ü\n", dir + "/..x", dir + "/" + strings.Repeat("n", 255)} {
		open(t, name, nil)
		if err := Remove(name); err != nil {
			t.Error(err)
		}
	}
}

func TestNamesOfValuesThatCannotBe(t *testing.T) {
	s := open(t, testName(t), nil)
	for _, name := range []string{"", "a\x00", "a\nb", "\x7f", "\xff", strings.Repeat("n", 256)} {
		if _, err := NewRawValue(s, name, int8(0)); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%.20q: %v", name, err)
		}
		if _, err := NewMutex(s, name); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%.20q: %v", name, err)
		}
	}
	for _, n := range []int{-1, math.MinInt} {
		if _, err := NewRawArray[int8](s, "negative", n); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("length %d: %v", n, err)
		}
	}
	if _, err := NewRawArray[complex128](s, "endless", math.MaxInt); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("endless: %v", err)
	}
	if _, err := NewRawArray[int8](s, "missing", 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("length of a missing array: %v", err)
	}
	for e := range s.Entries() {
		t.Errorf("a failed call made %q", e.Name)
	}
	for _, name := range []string{"ü", " ", "a/b", "日本", strings.Repeat("n", 255)} {
		must(NewRawValue(s, name, int8(0)))(t)
	}
}
