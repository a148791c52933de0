package shm

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFilesThatAreNotRegular(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(NewRawValue(open(t, in("segment"), nil), "n", int8(1)))(t)
	do(os.Symlink(in("segment"), in("symlink")))
	do(os.Symlink(in("nothing"), in("dangling")))
	must(NewRawValue(open(t, in("original"), nil), "n", int8(1)))(t)
	do(os.Link(in("original"), in("second")))
	do(os.Mkdir(in("directory"), 0o700))
	do(unix.Mkfifo(in("fifo"), 0o600))
	l := must(net.Listen("unix", in("socket")))(t)
	defer l.Close()
	doing := watchdog(t)
	paths := []string{in("symlink"), in("dangling"), in("original"), in("second"), in("directory"), in("fifo"), in("socket"), os.DevNull, "/dev/zero", "/dev/full", "/dev/tty"}
	for _, path := range paths {
		for _, o := range []Options{{}, {ReadOnly: true}, {Foreign: true}, {Mode: 0o666}} {
			doing(path)
			s, err := Open(path, &o)
			// Without a terminal /dev/tty has no device behind it.
			if s != nil || !errors.Is(err, ErrInsecure) && !errors.Is(err, syscall.ENXIO) {
				t.Errorf("%s, %+v: %v, %v", path, o, s, err)
			}
			if !isPathError(err, path) {
				t.Errorf("%s: %#v", path, err)
			}
		}
	}
	// The kernel's own files call themselves regular.
	for _, path := range []string{"/proc/self/status", "/proc/self/oom_score_adj", "/proc/self/mem", "/proc/self/pagemap", "/proc/sys/kernel/ostype"} {
		doing(path)
		s, err := Open(path, &Options{ReadOnly: true, Mode: 0o666})
		if s != nil || err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, %v", path, s, err)
		}
		if s, err := Open(path, &Options{Foreign: true, ReadOnly: true, Mode: 0o666}); s != nil || err == nil {
			t.Errorf("%s as foreign memory: %v, %v", path, s, err)
		}
	}
	if err := os.Remove(in("second")); err != nil {
		t.Fatal(err)
	}
	open(t, in("original"), nil)
}
