//go:build !windows

package systest_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// agreed fails unless another process sees this process's locks of the file, and the reverse.
func (s *shared) agreed(t *testing.T) {
	t.Helper()
	const own, its int64 = leaseBase + 1, leaseBase + 2
	if !shmtest.Must(sys.TryLock(s.locks, own))(t) {
		t.Fatal("the lock cannot be had")
	}
	p := s.start(t)
	p.Do(fmt.Sprintf("locked %d", own), "true")
	p.Do(fmt.Sprintf("lock %d", its), "true")
	if !held(t, s.f, its) {
		t.Error("the lock of another process is not seen")
	}
	p.Kill()
	sys.Unlock(s.locks, own)
}

// In a directory that gives its group to new files, all processes still find one place for
// locks. Where that depends on the file's group, it is the group of the creator.
func TestGroupOfADirectory(t *testing.T) {
	dir := t.TempDir()
	other := -1
	for _, g := range append(shmtest.Must(os.Getgroups())(t), 20) {
		if g != os.Getegid() && os.Chown(dir, -1, g) == nil {
			other = g
			break
		}
	}
	if other < 0 {
		t.Skip("this user may give a file to no other group")
	}
	// #nosec G302 -- the test is about such a directory
	if err := os.Chmod(dir, 0o777|fs.ModeSetgid|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o600, 0o644, 0o660} {
		s := shmtest.Must(create(filepath.Join(dir, fmt.Sprintf("segment%o", mode)), mode))(t)
		s.agreed(t)
		st, _ := shmtest.Must(s.f.Stat())(t).Sys().(*syscall.Stat_t)
		if sys.Backend == "portable" && int(st.Gid) != os.Getegid() {
			t.Errorf("mode %#o: the file has group %d, its creator group %d", mode, st.Gid, os.Getegid())
		}
	}
}

// Who attaches after a chmod or a chgrp finds the locks of those who attached before.
func TestChangedMode(t *testing.T) {
	for _, c := range []struct{ before, after fs.FileMode }{{0o666, 0o600}, {0o600, 0o644}, {0o660, 0o606}} {
		s := shmtest.Must(create(filepath.Join(t.TempDir(), "segment"), c.before))(t)
		if err := os.Chmod(s.path, c.after); err != nil {
			t.Fatal(err)
		}
		s.agreed(t)
	}
	s := shmtest.Must(create(filepath.Join(t.TempDir(), "segment"), 0o660))(t)
	for _, g := range append(shmtest.Must(os.Getgroups())(t), 20) {
		if g != os.Getegid() && os.Chown(s.path, -1, g) == nil {
			s.agreed(t)
			return
		}
	}
	t.Log("this user may give a file to no other group")
}
