//go:build linux && !shmportable

package sys_test

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"golang.org/x/sys/unix"
)

// duplicateOf returns a descriptor that no os.File has: what a parent passed.
func duplicateOf(t *testing.T, f *os.File) int {
	t.Helper()
	return shmtest.Must(unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3))(t)
}

func TestSendAndReceive(t *testing.T) {
	f := file(t, 1)
	key := first(sys.Identify(f, f.Name()))(t)
	description := shmtest.Must(sys.Reopen(f, f.Name()))(t)
	end := shmtest.Must(sys.Send(description))(t)
	if flags := shmtest.Must(unix.FcntlInt(end.Fd(), unix.F_GETFD, 0))(t); flags&unix.FD_CLOEXEC == 0 {
		t.Error("each child inherits the socket")
	}
	_ = shmtest.Must(sys.TryLock(description, farByte))(t)
	check(t, description.Close())
	if !locked(t, f, farByte) {
		t.Error("the description has ended, though it is on its way")
	}
	socket := duplicateOf(t, end)
	check(t, end.Close())
	// The descriptor is for nobody who wants another file.
	if g, err := sys.Receive(socket, sys.Key{Dev: key.Dev, Ino: key.Ino + 1}, "name"); g != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of another file: %v", err)
	}
	own, err := sys.Receive(socket, key, "name")
	if err != nil {
		t.Fatal(err)
	}
	if first(sys.Identify(own, ""))(t) != key || own.Name() != "name" {
		t.Errorf("%s is another file", own.Name())
	}
	if flags := shmtest.Must(unix.FcntlInt(own.Fd(), unix.F_GETFD, 0))(t); flags&unix.FD_CLOEXEC == 0 {
		t.Error("a child inherits what was received")
	}
	if _, err := unix.FcntlInt(uintptr(socket), unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("the socket is not closed: %v", err)
	}
	if !locked(t, f, farByte) || locked(t, own, farByte) {
		t.Error("it is another description than the one that was sent")
	}
	check(t, own.Close())
	if locked(t, f, farByte) {
		t.Error("another descriptor of the description is left")
	}
	if g, err := sys.Receive(socket, key, "name"); g != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("twice: %v", err)
	}
}

// A message that nobody receives ends with its socket.
func TestSendForNobody(t *testing.T) {
	f := file(t, 1)
	description := shmtest.Must(sys.Reopen(f, f.Name()))(t)
	_ = shmtest.Must(sys.TryLock(description, farByte))(t)
	end := shmtest.Must(sys.Send(description))(t)
	check(t, description.Close())
	check(t, end.Close())
	if locked(t, f, farByte) {
		t.Error("a descriptor that nobody has received is left")
	}
	if end, err := sys.Send(description); end != nil || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("of a closed file: %v", err)
	}
}

// Receive takes nothing that is not for it, and closes no descriptor of others.
func TestReceiveLeavesOthersAlone(t *testing.T) {
	f := file(t, 1)
	key := first(sys.Identify(f, f.Name()))(t)
	reader := shmtest.Opened(os.Open(f.Name()))(t)
	pair := func(text string, files ...*os.File) int {
		ends := shmtest.Must(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(t)
		t.Cleanup(func() { check(t, unix.Close(ends[0])) })
		var fds []int
		for _, f := range files {
			fds = append(fds, int(f.Fd()))
		}
		if text != "" {
			check(t, unix.Sendmsg(ends[1], []byte(text), unix.UnixRights(fds...), nil, 0))
		}
		check(t, unix.Close(ends[1]))
		return ends[0]
	}
	for what, c := range map[string]struct {
		fd   int
		text string // what waits there before and after
	}{
		"a file":                 {int(f.Fd()), ""},
		"an empty socket":        {pair(""), ""},
		"a byte":                 {pair("x"), "x"},
		"bytes":                  {pair("text"), "text"},
		"bytes and a descriptor": {pair("text", f), "text"},
		"two descriptors":        {pair("x", f, f), "x"},
		"another file":           {pair("x", file(t, 1)), "x"},
		"a descriptor to read":   {pair("x", reader), "x"},
	} {
		before := open(t)
		if g, err := sys.Receive(c.fd, key, "name"); g != nil || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", what, err)
		}
		if after := open(t); after > before { // fewer: the garbage collector closed files of other tests
			t.Errorf("%s: %d descriptors were open, and %d are", what, before, after)
		}
		b := make([]byte, 10)
		n, err := unix.Read(c.fd, b)
		if c.fd != int(f.Fd()) && (err != nil || string(b[:n]) != c.text) {
			t.Errorf("%s: %q is left, %v", what, b[:n], err)
		}
	}
	for _, fd := range []int{-1, 1 << 20} {
		if _, err := sys.Receive(fd, key, "name"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("descriptor %d: %v", fd, err)
		}
	}
}

// open returns how many descriptors this process has.
func open(t *testing.T) int {
	t.Helper()
	return len(shmtest.Must(os.ReadDir("/proc/self/fd"))(t))
}
