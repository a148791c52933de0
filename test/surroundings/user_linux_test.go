package surroundings_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

func TestModeIsNotMasked(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	for _, mode := range []fs.FileMode{0o600, 0o644, 0o660, 0o666} {
		name := shmtest.Name(t)
		shmtest.Opened(shm.Open(name, &shm.Options{Mode: mode}))(t)
		if got := shmtest.Must(os.Stat(shm.Path(name)))(t).Mode(); got != mode {
			t.Errorf("mode %v became %v", mode, got)
		}
		s, err := shm.Open(name, nil)
		if writable := mode&0o022 != 0; writable != errors.Is(err, shm.ErrInsecure) {
			t.Errorf("mode %v opened by default options: %v", mode, err)
		}
		if s != nil {
			_ = s.Close()
		}
		shmtest.Opened(shm.Open(name, &shm.Options{Mode: mode}))(t)
	}
}

// visitor opens a segment: "ro", or "rw" to add to it. It prints the number in it,
// or why it could not.
var visitor = shmtest.Helper("visitor", func(args []string) error {
	name, how, mode := args[0], args[1], fs.FileMode(0)
	if _, err := fmt.Sscanf(args[2], "%o", &mode); err != nil {
		return err
	}
	s, err := shm.Open(name, &shm.Options{Mode: mode, ReadOnly: how == "ro"})
	if err != nil {
		fmt.Println(reason(err))
		return nil
	}
	v, err := shm.NewRawValue(s, "n", int64(0))
	if err != nil {
		return err
	}
	fmt.Println(v.Get())
	if how == "rw" {
		_, err = shm.NewMutex(s, "mutex")
		if err == nil {
			_, err = shm.NewRawArray[byte](s, "array", 1<<20)
		}
	}
	return err
})

func TestOtherUsers(t *testing.T) {
	shmtest.NeedLinux(t, "segment that can be given to another user with chown")
	asNobody := shmtest.AsNobody(t)
	for _, c := range []struct {
		owner int
		mode  fs.FileMode
		how   string
		ask   string
		want  string
	}{
		{0, 0o600, "rw", "600", fs.ErrPermission.Error()},
		{0, 0o600, "ro", "600", fs.ErrPermission.Error()},
		{0, 0o644, "rw", "644", fs.ErrPermission.Error()},
		{0, 0o644, "ro", "600", "42"}, // root may be trusted
		{0, 0o644, "ro", "644", "42"},
		{0, 0o666, "rw", "600", shm.ErrInsecure.Error()},
		{0, 0o666, "rw", "666", "42"},
		{1, 0o644, "ro", "600", shm.ErrInsecure.Error()},
		{1, 0o644, "ro", "644", "42"},
		{1, 0o666, "ro", "644", shm.ErrInsecure.Error()},
		{1, 0o666, "rw", "666", "42"},
		{1, 0o622, "rw", "600", fs.ErrPermission.Error()},
	} {
		name := shmtest.Name(t)
		s := shmtest.Opened(shm.Open(name, &shm.Options{Mode: c.mode}))(t)
		shmtest.Must(shm.NewRawValue(s, "n", int64(42)))(t)
		if err := os.Chown(shm.Path(name), c.owner, -1); err != nil {
			t.Fatal(err)
		}
		p := shmtest.StartCmd(t, visitor, asNobody, name, c.how, c.ask)
		if got := p.Line(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
		p.Wait()
	}
	name := shmtest.Name(t)
	shmtest.Opened(shm.Open(name, nil))(t)
	if err := os.Chown(shm.Path(name), shmtest.Nobody, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := shm.Open(name, nil); !errors.Is(err, shm.ErrInsecure) {
		t.Errorf("root and another user's segment: %v", err)
	}
}

func TestDirectoryWithoutPermission(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "locked")
	name := filepath.Join(dir, "segment")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		if _, err := shm.Open(name, nil); !errors.Is(err, fs.ErrPermission) || !shmtest.IsPathError(err, name) {
			t.Errorf("a directory that may not be written: %v", err)
		}
		return
	}
	p := shmtest.StartCmd(t, visitor, shmtest.AsNobody(t), name, "rw", "600")
	p.Expect(fs.ErrPermission.Error())
	p.Wait()
}
