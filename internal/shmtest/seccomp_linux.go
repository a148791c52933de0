package shmtest

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// KillProcess is what Refuse takes in place of an errno for calls that end the
// process.
const KillProcess = unix.Errno(1<<32 - 1)

// refusable are the calls that Refuse knows: a number, and for some which bits of which
// argument decide.
var refusable = map[string]struct {
	nr        uintptr
	arg       int    // the argument's index
	mask, bit uint32 // refused if the argument has these bits so; all are if mask is 0
}{
	"fallocate":    {nr: unix.SYS_FALLOCATE},
	"fchmod":       {nr: unix.SYS_FCHMOD},
	"fstatfs":      {nr: sysFstatfs},
	"fsync":        {nr: unix.SYS_FSYNC},
	"linkat":       {nr: unix.SYS_LINKAT},
	"madvise":      {nr: unix.SYS_MADVISE, arg: 2, mask: ^uint32(1), bit: 16}, // MADV_DONTDUMP and MADV_DODUMP; Go's runtime needs others
	"memfd_create": {nr: unix.SYS_MEMFD_CREATE},
	"ioctl":        {nr: unix.SYS_IOCTL, arg: 1, mask: 0xff00, bit: 'f' << 8}, // FS_IOC_…
	"pidfd_open":   {nr: unix.SYS_PIDFD_OPEN},
	"ptrace":       {nr: unix.SYS_PTRACE},
	"renameat2":    {nr: unix.SYS_RENAMEAT2},
	"F_ADD_SEALS":  {nr: sysFcntl, arg: 1, mask: ^uint32(0), bit: unix.F_ADD_SEALS},
	"O_TMPFILE":    {nr: unix.SYS_OPENAT, arg: 2, mask: 0o20000000, bit: 0o20000000},
	"socketpair":   {nr: unix.SYS_SOCKETPAIR},
	"futex_waitv":  {nr: unix.SYS_FUTEX_WAITV},
}

// Refuse installs a filter in this process, until it ends: from now on the system
// refuses the calls with errno.
func Refuse(errno unix.Errno, calls ...string) error {
	// struct seccomp_data: nr at 0, args from 16 on, each with 64 bits.
	const (
		load = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		same = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		and  = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
		ret  = unix.BPF_RET | unix.BPF_K
	)
	action := unix.SECCOMP_RET_ERRNO | uint32(errno)&0xffff
	if errno == KillProcess {
		action = unix.SECCOMP_RET_KILL_PROCESS
	}
	low := 0
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		low = 4
	}
	var program []unix.SockFilter
	for _, name := range calls {
		c, ok := refusable[name]
		if !ok {
			return fmt.Errorf("no filter for %q", name)
		}
		program = append(program, unix.SockFilter{Code: load, K: 0})
		if c.mask == 0 {
			program = append(program, unix.SockFilter{Code: same, K: uint32(c.nr), Jf: 1})
		} else {
			program = append(program,
				unix.SockFilter{Code: same, K: uint32(c.nr), Jf: 4},
				unix.SockFilter{Code: load, K: uint32(16 + 8*c.arg + low)},
				unix.SockFilter{Code: and, K: c.mask},
				unix.SockFilter{Code: same, K: c.bit, Jf: 1})
		}
		program = append(program, unix.SockFilter{Code: ret, K: action})
	}
	program = append(program, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: unsafe.SliceData(program)}
	// SAFETY: the kernel copies the program during the call.
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}
