package bench

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// inherited has handles of files for a child. Each is a duplicate, since the child is to
// inherit it, and other children are not. The child finds them under the same numbers.
type inherited []windows.Handle

func newInherited(files []*os.File) (h inherited, err error) {
	me := windows.CurrentProcess()
	for _, f := range files {
		var own windows.Handle
		conn, err := f.SyscallConn()
		if err == nil {
			failed := conn.Control(func(fd uintptr) {
				err = windows.DuplicateHandle(me, windows.Handle(fd), me, &own, 0, true, windows.DUPLICATE_SAME_ACCESS)
			})
			if failed != nil {
				err = failed
			}
		}
		if err != nil {
			h.close()
			return nil, fmt.Errorf("duplicating the handle of %s for a worker: %w", f.Name(), err)
		}
		h = append(h, own)
	}
	return h, nil
}

// numbers returns the numbers that the files have in the child.
func (h inherited) numbers() (all []uintptr) {
	for _, own := range h {
		all = append(all, uintptr(own))
	}
	return all
}

// to makes the process that cmd will start inherit the files.
func (h inherited) to(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	for _, own := range h {
		cmd.SysProcAttr.AdditionalInheritedHandles = append(cmd.SysProcAttr.AdditionalInheritedHandles, syscall.Handle(own))
	}
}

// close closes the duplicates. As long as they are open, no reader of a pipe is told that
// its writers have ended.
func (h inherited) close() {
	for _, own := range h {
		_ = windows.CloseHandle(own) // the child has a handle of its own
	}
}
