//go:build linux && !shmportable

package sys_test

import (
	"os"
	"path/filepath"
	"testing"

	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"golang.org/x/sys/unix"
)

// mount mounts a filesystem that is unmounted at the end of the test, and returns
// its directory.
func mount(t *testing.T, source, kind, data string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount(source, dir, kind, 0, data); err != nil {
		t.Skipf("mount of %s: %v", kind, err)
	}
	t.Cleanup(func() { check(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

func TestInMemory(t *testing.T) {
	anonymous := shmtest.Opened(sys.CreateAnonymous([]byte{1}, sys.PageSize))(t)
	if !sys.InMemory(anonymous) {
		t.Error("an anonymous segment is not in memory")
	}
	for _, kind := range []string{"tmpfs", "ramfs", "hugetlbfs"} {
		t.Run(kind, func(t *testing.T) {
			f := shmtest.Opened(os.Create(filepath.Join(mount(t, "none", kind, ""), "file")))(t)
			if !sys.InMemory(f) {
				t.Error("it is not in memory")
			}
			check(t, f.Close())
			if sys.InMemory(f) {
				t.Error("of a closed file nothing is known, and the answer is yes")
			}
		})
	}
	if f, err := os.Open("/proc/self/stat"); err == nil {
		if sys.InMemory(f) {
			t.Error("procfs is taken for memory")
		}
		check(t, f.Close())
	}
}
