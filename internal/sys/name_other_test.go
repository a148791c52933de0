//go:build !windows

package sys_test

import (
	"errors"
	"io/fs"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"example.org/shm/internal/sys"
)

func TestPath(t *testing.T) {
	dir := "/tmp/"
	if runtime.GOOS == "linux" {
		dir = "/dev/shm/"
	}
	for name, want := range map[string]string{"board": dir + "board", "/tmp/x": "/tmp/x", "./x": "./x", "a/b": "a/b", "/x": "/x"} {
		if got := sys.Path(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "..x", "ü\n", "/a", "./a", "../a", "/a/./b", strings.Repeat("n", 255), "/dir/" + strings.Repeat("n", 255)} {
		if err := sys.CheckName(name); err != nil {
			t.Errorf("%.40q: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", "/", "//", "a\x00", "/../x", "a/../b", "a/", "a/.", "a/.."} {
		if err := sys.CheckName(name); !errors.Is(err, fs.ErrInvalid) || errors.Is(err, syscall.ENAMETOOLONG) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{strings.Repeat("n", 256), "/dir/" + strings.Repeat("n", 256), strings.Repeat("/nnnnnnn", 512)} {
		if err := sys.CheckName(name); !errors.Is(err, fs.ErrInvalid) || !errors.Is(err, syscall.ENAMETOOLONG) {
			t.Errorf("%.40q: %v", name, err)
		}
	}
}
