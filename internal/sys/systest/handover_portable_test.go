//go:build (linux && shmportable) || darwin || freebsd

package systest_test

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"golang.org/x/sys/unix"
)

// descriptors returns how many of the first 1000 numbers are descriptors.
func descriptors() (n int) {
	for fd := range 1000 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			n++
		}
	}
	return n
}

// socketWith returns a socket in which a message waits.
func socketWith(t *testing.T, text []byte, files ...*os.File) int {
	t.Helper()
	ends := shmtest.Must(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0))(t)
	t.Cleanup(func() { _ = unix.Close(ends[0]) }) // Receive may have closed it.
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	if err := unix.Sendmsg(ends[1], text, unix.UnixRights(fds...), nil, 0); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(ends[1])
	return ends[0]
}

// Receive decides by the bytes of a message whether it is for it: on some systems a look at
// the descriptors that wait returns numbers of this process's own ones.
func TestReceiveLooksAtBytesOnly(t *testing.T) {
	s := file(t)
	key, _, err := sys.Identify(s.f, s.path)
	if err != nil {
		t.Fatal(err)
	}
	lease := shmtest.Opened(os.Create(t.TempDir() + "/lease"))(t)
	end := shmtest.Opened(sys.Send(s.locks))(t)
	text := make([]byte, 100)
	n, _, _, _, err := unix.Recvmsg(int(end.Fd()), text, nil, unix.MSG_PEEK)
	if err != nil || n < 16 {
		t.Fatalf("%d bytes wait, %v", n, err)
	}
	text = text[:n]
	for what, c := range map[string][]byte{"a byte": {0}, "another key": append(append([]byte(nil), text[:n-1]...), text[n-1]+1), "more": append(append([]byte(nil), text...), 0)} {
		socket := socketWith(t, c, s.f, lease)
		before := descriptors()
		if f, err := sys.Receive(socket, key, "name"); f != nil || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, %v", what, f, err)
		}
		if after := descriptors(); after > before { // fewer: the garbage collector closed files of other tests
			t.Errorf("%s: %d descriptors were open, and %d are", what, before, after)
		}
		got, rights := make([]byte, 100), make([]byte, unix.CmsgSpace(2*4))
		n, length, _, _, err := unix.Recvmsg(socket, got, rights, unix.MSG_DONTWAIT)
		if err != nil || string(got[:n]) != string(c) || length == 0 {
			t.Errorf("%s: %q is left, and %d bytes of descriptors, %v", what, got[:n], length, err)
		}
	}
	// The right bytes with a wrong descriptor.
	socket := socketWith(t, text, lease, s.f)
	before := descriptors()
	if f, err := sys.Receive(socket, key, "name"); f != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another file: %v, %v", f, err)
	}
	if after := descriptors(); after > before { // fewer: the garbage collector closed files of other tests
		t.Errorf("another file: %d descriptors were open, and %d are", before, after)
	}
	// A process that has closed its standard input keeps that number free.
	stdin, err := unix.Dup(0)
	if err != nil {
		t.Skip("standard input is closed")
	}
	_ = unix.Close(0)
	socket = shmtest.Must(unix.FcntlInt(end.Fd(), unix.F_DUPFD_CLOEXEC, 3))(t)
	f, err := sys.Receive(socket, key, "name")
	_, closed := unix.FcntlInt(0, unix.F_GETFD, 0)
	if failed := errors.Join(unix.Dup2(stdin, 0), unix.Close(stdin)); failed != nil {
		t.Fatal(failed)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if closed == nil {
		t.Error("what was received took the number of the standard input")
	}
	if got, _, err := sys.Identify(f, "name"); got != key || err != nil {
		t.Errorf("received %v, %v", got, err)
	}
}
