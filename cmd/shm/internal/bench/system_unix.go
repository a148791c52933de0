//go:build !linux && !windows

package bench

import (
	"os/exec"
	"syscall"
	"time"
)

// ownGroup makes a child and its children a group, so that a signal reaches all of them.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// terminateGroup sends SIGTERM to a child and its children.
func terminateGroup(pid int) error { return syscall.Kill(-pid, syscall.SIGTERM) }

// monotonic returns the time of the wall clock, which processes share.
func monotonic() int64 { return time.Now().UnixNano() }

func kernel() string { return "" }
