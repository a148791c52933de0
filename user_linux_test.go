package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// nobody is a user who owns nothing.
const nobody = 65534

// asNobody runs a helper as that user.
func asNobody(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Path = "/proc/self/exe" // the binary may lie where that user cannot look
	cmd.Dir = "/"
}

// needRoot skips a test that has to become another user.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can run a process as another user")
	}
}

func TestModeIsNotMasked(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	for _, mode := range []fs.FileMode{0o600, 0o644, 0o660, 0o666} {
		name := testName(t)
		open(t, name, &Options{Mode: mode})
		if got := must(os.Stat(Path(name)))(t).Mode(); got != mode {
			t.Errorf("mode %v became %v", mode, got)
		}
		_, err := Open(name, nil)
		if writable := mode&0o022 != 0; writable != errors.Is(err, ErrInsecure) {
			t.Errorf("mode %v opened by default options: %v", mode, err)
		}
		open(t, name, &Options{Mode: mode})
	}
}

// visitor opens a segment and does what its second argument says; it answers
// with what errors it got.
var visitor = helper("visitor", func(args []string) error {
	name, mode := args[0], fs.FileMode(0)
	if _, err := fmt.Sscanf(args[2], "%o", &mode); err != nil {
		return err
	}
	s, err := Open(name, &Options{Mode: mode, ReadOnly: args[1] == "ro"})
	if err != nil {
		fmt.Println(reason(err))
		return nil
	}
	v, err := NewRawValue(s, "n", int64(0))
	if err != nil {
		return err
	}
	fmt.Println(v.Get())
	if args[1] == "rw" {
		_, err = NewMutex(s, "mutex")
		if err == nil {
			_, err = NewRawArray[byte](s, "array", 1<<20)
		}
	}
	return err
})

func TestOtherUsers(t *testing.T) {
	needRoot(t)
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
		{0, 0o666, "rw", "600", ErrInsecure.Error()},
		{0, 0o666, "rw", "666", "42"},
		{1, 0o644, "ro", "600", ErrInsecure.Error()},
		{1, 0o644, "ro", "644", "42"},
		{1, 0o666, "ro", "644", ErrInsecure.Error()},
		{1, 0o666, "rw", "666", "42"},
		{1, 0o622, "rw", "600", fs.ErrPermission.Error()},
	} {
		name := testName(t)
		s := open(t, name, &Options{Mode: c.mode})
		must(NewRawValue(s, "n", int64(42)))(t)
		if err := os.Chown(Path(name), c.owner, -1); err != nil {
			t.Fatal(err)
		}
		p := startCmd(t, visitor, asNobody, name, c.how, c.ask)
		if got := p.line(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
		p.wait()
	}
	name := testName(t)
	open(t, name, nil)
	if err := os.Chown(Path(name), nobody, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(name, nil); !errors.Is(err, ErrInsecure) {
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
		if _, err := Open(name, nil); !errors.Is(err, fs.ErrPermission) || !isPathError(err, name) {
			t.Errorf("a directory that may not be written: %v", err)
		}
		return
	}
	p := startCmd(t, visitor, asNobody, name, "rw", "600")
	p.expect(fs.ErrPermission.Error())
	p.wait()
}
