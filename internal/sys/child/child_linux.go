package child

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

// DieWithParent makes the system kill the process of a command when the thread that
// starts it ends. The caller keeps its thread until then.
func DieWithParent(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
}

// Killed reports whether a process was ended by os.Process.Kill.
func Killed(s *os.ProcessState) bool {
	status, ok := s.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// Stop stops a child of this process, as a debugger does, and returns when all of its
// threads have stopped.
func Stop(p *os.Process) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for {
		err := unix.Waitid(unix.P_PID, p.Pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
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

// Resume lets a stopped process go on.
func Resume(p *os.Process) error { return p.Signal(syscall.SIGCONT) }

// InExecutable reports whether an address of this process is in its executable file, as
// constants of the program are, and not on the heap or on a stack.
func InExecutable(addr uintptr) (bool, error) {
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
