package surroundings_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"golang.org/x/sys/unix"
)

// run runs a program of the system, and skips the test if it is missing or fails: then
// this machine has no such filesystem.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Skipf("%s: %v %s", name, err, out)
	}
}

// image is a filesystem in a file, and where it is mounted.
type image struct{ file, dir string }

// newImage makes a filesystem and mounts it until the end of the test.
func newImage(t *testing.T, mkfs string, args ...string) *image {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount filesystems")
	}
	x := &image{filepath.Join(t.TempDir(), "image"), t.TempDir()}
	run(t, "truncate", "-s", "320M", x.file)
	run(t, mkfs, append(args, "-q", x.file)...)
	x.mount(t)
	t.Cleanup(func() { _ = unix.Unmount(x.dir, unix.MNT_DETACH) })
	return x
}

func (x *image) mount(t *testing.T) {
	t.Helper()
	run(t, "mount", "-o", "loop", x.file, x.dir)
}

// incrementer adds one to a number and prints it.
var incrementer = shmtest.Helper("incrementer", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := shm.NewValue(s, "n", int64(0))
	if err != nil {
		return err
	}
	fmt.Println(v.Add(1))
	return nil
})

func increment(t *testing.T, path, want string) {
	t.Helper()
	p := shmtest.Start(t, incrementer, path)
	p.Expect(want)
	p.Wait()
}

// The power fails: what has not been written to the disk is lost. Where the name of a
// segment is there, the segment is.
func TestPowerFailureAfterCreation(t *testing.T) {
	for kind, args := range map[string][]string{"ext4": nil, "xfs": nil} {
		t.Run(kind, func(t *testing.T) {
			x := newImage(t, "mkfs."+kind, args...)
			path := filepath.Join(x.dir, "segment")
			increment(t, path, "1")
			if err := exec.Command("sync", "-f", filepath.Dir(x.file)).Run(); err != nil {
				t.Fatal(err)
			}
			run(t, "xfs_io", "-x", "-c", "shutdown", x.dir) // neither data nor the log are written any more
			if err := unix.Unmount(x.dir, 0); err != nil {
				t.Skip(err)
			}
			x.mount(t)
			// The directory was written too, so that the name is there.
			s, err := shm.Open(path, &shm.Options{MustExist: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// On btrfs a new segment does not copy on write, so a full disk is no harm to it.
func TestNoCopyOnWrite(t *testing.T) {
	if testing.Short() {
		t.Skip("it fills a disk, which takes ten seconds")
	}
	x := newImage(t, "mkfs.btrfs")
	s := shmtest.Opened(shm.Open(filepath.Join(x.dir, "segment"), nil))(t)
	a := shmtest.Must(shm.NewArray[int64](s, "a", 1<<17))(t)
	flags := shmtest.Must(unix.IoctlGetUint32(int(s.File().Fd()), unix.FS_IOC_GETFLAGS))(t)
	if flags&0x00800000 == 0 {
		t.Fatalf("flags %#x", flags)
	}
	a.Add(0, 1)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	fill := shmtest.Opened(os.Create(filepath.Join(x.dir, "fill")))(t)
	for size := 1 << 20; size >= 4096; size /= 4 {
		for err := error(nil); err == nil; {
			_, err = fill.Write(make([]byte, size))
		}
	}
	for range 2 { // a fault would end the process
		for i := 0; i < a.Len(); i += 512 {
			a.Add(i, 1)
		}
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
	}
}

// Filesystems that are programs lack files without a name, and flags of rename.
func TestFUSE(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount filesystems")
	}
	for _, mount := range [][]string{
		{"bindfs"},
		// By default it makes no file where less than 4 GiB are free.
		{"mergerfs", "-o", "minfreespace=0"},
	} {
		t.Run(mount[0], func(t *testing.T) {
			back, dir := t.TempDir(), t.TempDir()
			run(t, mount[0], append(mount[1:], back, dir)...)
			t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
			path := filepath.Join(dir, "segment")
			s := shmtest.Opened(shm.Open(path, nil))(t)
			v := shmtest.Must(shm.NewValue(s, "n", int64(0)))(t)
			increment(t, path, "1")
			increment(t, path, "2")
			if n := v.Load(); n != 2 {
				t.Errorf("%d, in the process that made the segment", n)
			}
			if names := shmtest.Must(os.ReadDir(dir))(t); len(names) != 1 {
				t.Errorf("%v are there", names)
			}
		})
	}
}

func TestHugetlbfsHoldsNoSegment(t *testing.T) {
	shmtest.NeedLinux(t, "name for that filesystem")
	if os.Geteuid() != 0 {
		t.Skip("only root can mount filesystems")
	}
	dir := t.TempDir()
	run(t, "mount", "-t", "hugetlbfs", "none", dir)
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	_, err := shm.Open(filepath.Join(dir, "segment"), nil)
	if !errors.Is(err, errors.ErrUnsupported) || !shmtest.IsPathError(err, filepath.Join(dir, "segment")) {
		t.Fatal(err)
	}
	if names := shmtest.Must(os.ReadDir(dir))(t); len(names) != 0 {
		t.Errorf("%v are there", names)
	}
}
