package shmtest_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"example.org/shm/internal/shmtest"
)

// parent starts a process of its own, or fails to.
var parent = shmtest.Helper("parent", func(args []string) error {
	child := shmtest.Start(shmtest.InHelper, args[0])
	child.Expect("ready 0")
	fmt.Println(child.Pid())
	select {}
})

func TestHelpersOfHelpers(t *testing.T) {
	p := shmtest.Start(t, parent, echo)
	var pid int
	if _, err := fmt.Sscan(p.Line(), &pid); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	shmtest.Eventually(t, "the child of a killed helper ends", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || zombie(stat)
	})
	var complaints strings.Builder
	p = shmtest.StartCmd(t, parent, func(cmd *exec.Cmd) { cmd.Stderr = &complaints }, "none")
	if err := p.End(); err == nil || complaints.String() != "helper parent: no helper is named \"none\"\n" {
		t.Errorf("after Fatal the helper ended with %v and %q", err, complaints.String())
	}
}

// zombie reports whether a process has ended and nobody has waited for it.
func zombie(stat []byte) bool {
	var pid int
	var name, state string
	_, err := fmt.Sscan(string(stat), &pid, &name, &state)
	return err == nil && state == "Z"
}

func TestStop(t *testing.T) {
	p := shmtest.Start(t, echo)
	p.Expect("ready 0")
	p.Stop()
	p.Signal(syscall.SIGCONT)
	p.Do("on", "on")
	if shmtest.CPU(t, p) <= 0 {
		t.Error("a process that has run used no CPU")
	}
	if shmtest.Threads(t) < 1 {
		t.Error("this process has no thread")
	}
}

func TestInode(t *testing.T) {
	f := shmtest.Opened(os.Open("."))(t)
	var st syscall.Stat_t
	if err := syscall.Stat(".", &st); err != nil {
		t.Fatal(err)
	}
	if ino, err := shmtest.Inode(f); err != nil || ino != st.Ino {
		t.Errorf("inode %d, want %d: %v", ino, st.Ino, err)
	}
}

var whoami = shmtest.Helper("whoami", func(args []string) error {
	if len(args) > 0 {
		if err := shmtest.MountShared(args[0]); err != nil {
			return err
		}
		fmt.Println(len(shmtest.SharedNames()), "names")
	}
	fmt.Println(os.Geteuid())
	return nil
})

func TestAsNobody(t *testing.T) {
	p := shmtest.StartCmd(t, whoami, shmtest.AsNobody(t))
	p.Expect(fmt.Sprint(shmtest.Nobody))
	p.Wait()
}

func TestInNamespace(t *testing.T) {
	p := shmtest.StartCmd(t, whoami, shmtest.InNamespace(t), "64k")
	p.Expect("0 names")
	p.Expect("0")
	p.Wait()
}
