package surroundings_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
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
	makeSegment := func(path string) {
		t.Helper()
		s := shmtest.Opened(shm.Open(path, nil))(t)
		shmtest.Must(shm.NewRawValue(s, "n", int8(1)))(t)
	}
	makeSegment(in("segment"))
	do(os.Symlink(in("segment"), in("symlink")))
	do(os.Symlink(in("nothing"), in("dangling")))
	makeSegment(in("original"))
	do(os.Link(in("original"), in("second")))
	do(os.Mkdir(in("directory"), 0o700))
	do(unix.Mkfifo(in("fifo"), 0o600))
	l := shmtest.Must(net.Listen("unix", in("socket")))(t)
	defer l.Close()
	doing := shmtest.Watchdog(t)
	for _, path := range []string{
		in("symlink"), in("dangling"), in("original"), in("second"), in("directory"), in("fifo"), in("socket"),
		os.DevNull, "/dev/zero", "/dev/full", "/dev/tty",
	} {
		for _, o := range []shm.Options{{}, {ReadOnly: true}, {Foreign: true}, {Mode: 0o666}} {
			doing(path)
			s, err := shm.Open(path, &o)
			// Without a terminal /dev/tty has no device behind it.
			if s != nil || !errors.Is(err, shm.ErrInsecure) && !errors.Is(err, syscall.ENXIO) {
				t.Errorf("%s, %+v: %v, %v", path, o, s, err)
			}
			if !shmtest.IsPathError(err, path) {
				t.Errorf("%s: %#v", path, err)
			}
		}
	}
	// The kernel's own files call themselves regular.
	for _, path := range []string{"/proc/self/status", "/proc/self/oom_score_adj", "/proc/self/mem", "/proc/self/pagemap", "/proc/sys/kernel/ostype"} {
		doing(path)
		s, err := shm.Open(path, &shm.Options{ReadOnly: true, Mode: 0o666})
		if s != nil || err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, %v", path, s, err)
		}
		if s, err := shm.Open(path, &shm.Options{Foreign: true, ReadOnly: true, Mode: 0o666}); s != nil || err == nil {
			t.Errorf("%s as foreign memory: %v, %v", path, s, err)
		}
	}
	do(os.Remove(in("second")))
	shmtest.Opened(shm.Open(in("original"), nil))(t)
}
