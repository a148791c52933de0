package shmtest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// dieWithParent makes the system kill the process of a command when this one
// ends.
func dieWithParent(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	runtime.LockOSThread() // The signal comes when the thread ends that started the process.
}

// Stop stops the process as a debugger does, and returns when it has stopped.
func (p *Process) Stop() {
	p.t.Helper()
	p.Signal(syscall.SIGSTOP)
	Eventually(p.t, "the process stops", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
		return err == nil && strings.Contains(string(stat), ") T ")
	})
}

// CPU returns how long the threads of processes have run, all together. Threads
// that have ended do not count.
func CPU(t TB, processes ...*Process) (sum time.Duration) {
	t.Helper()
	for _, p := range processes {
		for _, thread := range threads(t, fmt.Sprint(p.Pid())) {
			b, err := os.ReadFile(thread + "/schedstat")
			if err != nil {
				continue // It has ended.
			}
			ns, err := strconv.ParseInt(strings.Fields(string(b))[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += time.Duration(ns)
		}
	}
	return sum
}

// Threads returns how many threads this process has.
func Threads(t TB) int {
	t.Helper()
	return len(threads(t, "self"))
}

func threads(t TB, pid string) (paths []string) {
	t.Helper()
	dir := "/proc/" + pid + "/task/"
	for _, e := range Must(os.ReadDir(dir))(t) {
		paths = append(paths, dir+e.Name())
	}
	return paths
}

// Inode returns the number of an open file.
func Inode(f *os.File) (uint64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Sys().(*syscall.Stat_t).Ino, nil
}
