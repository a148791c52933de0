package shmtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// dieWithParent makes the system kill the process of a command when this thread ends.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

func killedBySignal(s *os.ProcessState) bool {
	status, ok := s.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// stop stops the process and waits until it has stopped.
func (p *Proc) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for {
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
		switch err {
		case nil:
			return nil
		case unix.EINTR:
		case unix.ECHILD:
			return errors.New("it has ended")
		default:
			return err
		}
	}
}

func (p *Proc) resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// inExecutable reports whether an address of this process is in its executable file, as
// constants of the program are, and not on the heap or on a stack.
func inExecutable(addr uintptr) (bool, error) {
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return false, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		var start, end uintptr
		// address-address rwxs offset device inode path
		words := strings.Fields(lines.Text())
		if len(words) < 5 {
			continue
		}
		if _, err := fmt.Sscanf(words[0], "%x-%x", &start, &end); err != nil {
			return false, err
		}
		if start <= addr && addr < end {
			return words[4] != "0", nil
		}
	}
	return false, nil
}
