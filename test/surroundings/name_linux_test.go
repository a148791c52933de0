package surroundings_test

import (
	"errors"
	"io/fs"
	"math"
	"strings"
	"syscall"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

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
		{dir + "/missing/x", fs.ErrNotExist}, {dir, shm.ErrInsecure},
	} {
		s, err := shm.Open(c.name, nil)
		if s != nil || !errors.Is(err, c.want) {
			t.Errorf("Open(%.40q): %v, %v; want %v", c.name, s, err, c.want)
			continue
		}
		var path *fs.PathError
		if !errors.As(err, &path) || path.Path != c.name || path.Err == nil || !strings.Contains(err.Error(), c.name) {
			t.Errorf("Open(%.40q): %#v does not name the path", c.name, err)
		}
		if c.want == shm.ErrInsecure {
			continue
		}
		if err := shm.Remove(c.name); !errors.Is(err, c.want) || !errors.As(err, &path) {
			t.Errorf("Remove(%.40q): %v; want %v", c.name, err, c.want)
		}
	}
	// These look odd, and are names.
	for _, name := range []string{shmtest.Name(t) + " ü\n", dir + "/..x", dir + "/" + strings.Repeat("n", 255)} {
		shmtest.Opened(shm.Open(name, nil))(t)
		if err := shm.Remove(name); err != nil {
			t.Error(err)
		}
	}
}

func TestNamesOfValuesThatCannotBe(t *testing.T) {
	s := shmtest.Opened(shm.Open(shmtest.Name(t), nil))(t)
	for _, name := range []string{"", "a\x00", "a\nb", "\x7f", "\xff", strings.Repeat("n", 256)} {
		if _, err := shm.NewRawValue(s, name, int8(0)); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%.20q: %v", name, err)
		}
		if _, err := shm.NewMutex(s, name); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%.20q: %v", name, err)
		}
	}
	for _, n := range []int{-1, math.MinInt} {
		if _, err := shm.NewRawArray[int8](s, "negative", n); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("length %d: %v", n, err)
		}
	}
	if _, err := shm.NewRawArray[complex128](s, "endless", math.MaxInt); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("endless: %v", err)
	}
	if _, err := shm.NewRawArray[int8](s, "missing", 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("length of a missing array: %v", err)
	}
	for e := range s.Entries() {
		t.Errorf("a failed call made %q", e.Name)
	}
	for _, name := range []string{"ü", " ", "a/b", "日本", strings.Repeat("n", 255)} {
		shmtest.Must(shm.NewRawValue(s, name, int8(0)))(t)
	}
}
