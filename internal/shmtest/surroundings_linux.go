package shmtest

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// Nobody is the id of a user and of a group that own nothing.
const Nobody = 65534

// AsNobody returns a change for [StartCmd] that makes a helper run as the user
// Nobody. It skips the test unless root runs it.
func AsNobody(t testing.TB) func(*exec.Cmd) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can run a process as another user")
	}
	return func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: Nobody, Gid: Nobody}}
		cmd.Path = "/proc/self/exe" // That user may not have access to the directory of the binary.
		cmd.Dir = "/"
	}
}

// InNamespace returns a change for [StartCmd] that makes a helper run as root of
// a user namespace and a mount namespace of its own, so that it can mount and call
// chroot, whichever user runs the tests. It skips the test if the system does not allow
// that.
func InNamespace(t testing.TB) func(*exec.Cmd) {
	t.Helper()
	ids := func(id int) []syscall.SysProcIDMap {
		return []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
	}
	change := func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: ids(os.Geteuid()), GidMappings: ids(os.Getegid()),
		}
	}
	probe := exec.Command("/proc/self/exe", "-test.run=^$")
	change(probe)
	if err := probe.Run(); err != nil {
		t.Skipf("no user namespaces: %v", err)
	}
	return change
}

// MountShared mounts a new filesystem over SharedDir, of a size such as "256k".
// It is for helpers that run in a namespace of their own.
func MountShared(size string) error {
	if err := syscall.Mount("shm", SharedDir(), "tmpfs", 0, "size="+size); err != nil {
		return fmt.Errorf("mounting a filesystem over %s: %w", SharedDir(), err)
	}
	return nil
}
