package sys

import (
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/windows"
)

// Inherit makes the process that cmd will start inherit a handle of f, and returns
// the number that it has there, which is the same in this process. The handle is closed
// when the collector finds cmd unreachable.
func Inherit(cmd *exec.Cmd, f *os.File) (number int, err error) {
	var h windows.Handle
	err = withHandle(f, func(old windows.Handle) error {
		me := windows.CurrentProcess()
		return windows.DuplicateHandle(me, old, me, &h, 0, true, windows.DUPLICATE_SAME_ACCESS)
	})
	if err != nil {
		return 0, errs.Path("inherit", f.Name(), err)
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.AdditionalInheritedHandles = append(cmd.SysProcAttr.AdditionalInheritedHandles, syscall.Handle(h))
	runtime.AddCleanup(cmd, func(h windows.Handle) { _ = windows.CloseHandle(h) }, h)
	return int(h), nil
}

// Inherits returns which file has a number in the process that cmd will start. It returns
// false if that inherits none of the number.
func Inherits(cmd *exec.Cmd, number int) (Key, bool) {
	if cmd.SysProcAttr == nil || !slices.Contains(cmd.SysProcAttr.AdditionalInheritedHandles, syscall.Handle(number)) {
		return Key{}, false
	}
	var info windows.ByHandleFileInformation
	err := windows.GetFileInformationByHandle(windows.Handle(number), &info)
	return keyOf(&info), err == nil
}

// InheritsSocket returns false: Send makes no socket.
func InheritsSocket(*exec.Cmd, int) bool { return false }
