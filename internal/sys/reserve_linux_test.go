//go:build linux && !shmportable

package sys_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"golang.org/x/sys/unix"
)

// blocks returns how many bytes of a file the filesystem has allocated.
func blocks(t *testing.T, f *os.File) int64 {
	t.Helper()
	return shmtest.Must(f.Stat())(t).Sys().(*syscall.Stat_t).Blocks * 512
}

func TestReserve(t *testing.T) {
	f := file(t, 0)
	_ = shmtest.Must(f.WriteAt([]byte("header"), 0))(t)
	for _, end := range []int64{4096, 4096, 100_000, 40 << 20} { // more than one step in the end
		check(t, sys.Reserve(f, f.Name(), 0, end))
		if size := shmtest.Must(f.Stat())(t).Size(); size != end || blocks(t, f) < end {
			t.Fatalf("%d bytes, of which %d are allocated, want %d", size, blocks(t, f), end)
		}
	}
	check(t, sys.Reserve(f, f.Name(), 0, 10))
	check(t, sys.Reserve(f, f.Name(), 20, 10)) // nothing
	b := make([]byte, 100_000)
	_ = shmtest.Must(f.ReadAt(b, 0))(t)
	if string(b[:6]) != "header" || !bytes.Equal(b[6:], make([]byte, len(b)-6)) || shmtest.Must(f.Stat())(t).Size() != 40<<20 {
		t.Fatal("what was there has changed, or what is new is not zero")
	}
}

func TestReserveGivesBackAfterAnError(t *testing.T) {
	f := os.NewFile(uintptr(shmtest.Must(unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING))(t)), "sealed")
	defer f.Close()
	check(t, f.Truncate(32<<20))
	_ = shmtest.Must(unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_GROW))(t)
	// Two steps succeed, and the third is beyond the end.
	err := sys.Reserve(f, "sealed", 4096, 33<<20)
	var path *fs.PathError
	if !errors.Is(err, fs.ErrPermission) || !errors.As(err, &path) || path.Path != "sealed" || path.Op != "allocate" {
		t.Fatalf("%#v", err)
	}
	if n := blocks(t, f); n != 0 {
		t.Fatalf("%d bytes are still allocated", n)
	}
}

func TestFillWritesOnlyBehindTheEnd(t *testing.T) {
	f := file(t, 0)
	_ = shmtest.Must(f.WriteAt([]byte("0123456789"), 0))(t)
	check(t, sys.Fill(f, 0, 5))
	check(t, sys.Fill(f, 5, 2<<20+7))
	b := shmtest.Must(os.ReadFile(f.Name()))(t)
	if len(b) != 5+2<<20+7 || string(b[:10]) != "0123456789" || !bytes.Equal(b[10:], make([]byte, len(b)-10)) {
		t.Fatalf("%d bytes that start with %q", len(b), b[:10])
	}
	if n := blocks(t, f); n < int64(len(b)) {
		t.Fatalf("%d of %d bytes are allocated", n, len(b))
	}
	reader := shmtest.Opened(os.Open(f.Name()))(t)
	if err := sys.Fill(reader, 0, 4<<20); !errors.Is(err, syscall.EBADF) {
		t.Fatal(err)
	}
}
