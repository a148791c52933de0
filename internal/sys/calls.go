package sys

import (
	"os"
	"slices"
	"strings"
	"sync"
)

// AvoidVariable is the environment variable that names optional calls which the
// package must not make, with commas between them: those for which a filter of
// system calls would end the process. It is read once.
const AvoidVariable = "SHM_AVOID"

// Call is a system call, or one use of it, that the package makes.
type Call struct {
	Name    string // for an optional call this is what AvoidVariable has
	Needed  bool   // without it no segment can be made or attached, or no lock taken
	For     string // what it is used for
	Without string // what an optional call is replaced by, and what is lost
}

// The names of optional calls.
const (
	callFallocate = "fallocate"
	callFchmod    = "fchmod"
	callFstatfs   = "fstatfs"
	callFsync     = "fsync"
	callLinkat    = "linkat"
	callMadvise   = "madvise"
	callMemfd     = "memfd_create"
	callNoCopy    = "ioctl"
	callPidfd     = "pidfd_open"
	callRenameat2 = "renameat2"
	callSeal      = "F_ADD_SEALS"
	callSocket    = "socketpair"
	callTmpfile   = "O_TMPFILE"
	callWaitAny   = "futex_waitv"
)

// Calls returns what the package asks of Linux beyond what Go's runtime needs
// anyway: the needed calls and the optional ones.
func Calls() []Call {
	return []Call{
		{Name: "openat", Needed: true, For: "opening the file of a segment, with O_NOFOLLOW, O_NONBLOCK and O_CLOEXEC"},
		{Name: "fstat", Needed: true, For: "the size, the owner and the mode of the file; newfstatat and statx for some questions"},
		{Name: "pread64, pwrite64", Needed: true, For: "the header of the file"},
		{Name: "mmap, munmap", Needed: true, For: "the memory, with MAP_SHARED"},
		{Name: "msync", Needed: true, For: "Segment.Sync, and nothing else"},
		{Name: "fcntl", Needed: true, For: "F_OFD_SETLK, F_OFD_SETLKW and F_OFD_GETLK for leases, and for read-only attachments that wait; F_GETFL, F_SETFD and F_DUPFD_CLOEXEC for OpenFile and Inherited"},
		{Name: "futex", Needed: true, For: "FUTEX_WAIT_BITSET and FUTEX_WAKE_BITSET for all that wait; futex_time64 on 32-bit systems that have it"},
		{Name: "unlinkat", Needed: true, For: "Remove; unlink on systems that have it"},
		{Name: callTmpfile, For: "building a segment without a name (a flag of openat)", Without: "a temporary name beside the real one"},
		{Name: callLinkat, For: "giving a segment its name", Without: "a temporary name, and renameat2"},
		{Name: callRenameat2, For: "giving a segment its name, if it has a temporary one", Without: "linkat; without both no named segment can be made"},
		{Name: callFallocate, For: "reserving memory before it is used", Without: "zeros are written; what a failed constructor got stays reserved for the next"},
		{Name: callFchmod, For: "Options.Mode, whatever the umask", Without: "Open returns an error if the mode of a new file is another one than Options.Mode"},
		{Name: callFsync, For: "a new file is on disk before its name is", Without: "a power failure soon after may leave a name with nothing behind it"},
		{Name: callFstatfs, For: "telling memory from disks", Without: "every filesystem is treated as a disk: a new segment takes longer"},
		{Name: callNoCopy, For: "switching copy-on-write off for new files on btrfs (FS_IOC_GETFLAGS, FS_IOC_SETFLAGS)", Without: "on btrfs a store may be a SIGBUS when the disk is full"},
		{Name: callMemfd, For: "Anonymous", Without: "a file without a name in /dev/shm, which a process that has it can shrink"},
		{Name: callSeal, For: "keeping an anonymous segment from shrinking (an operation of fcntl)", Without: "a process that has it can shrink it"},
		{Name: callMadvise, For: "keeping reserved addresses out of core dumps (MADV_DONTDUMP, MADV_DODUMP)", Without: "a core dump of an anonymous or removed segment takes seconds"},
		{Name: callPidfd, For: "learning at once that the owner of a lock has died; epoll and poll wait for it", Without: "waiters ask every 4 ms, and after a second every 20 ms"},
		{Name: callSocket, For: "Pass, with sendmsg and, in the child, recvmsg: an open file description for the child's lease", Without: "a child that may not open the file itself gets no locks and makes no values"},
		{Name: callWaitAny, For: "awaiting more than 16 values with one thread, and answering read-only attachments that wait", Without: "the values beyond 16 are looked at a hundred times a second; without it in all processes that write, read-only attachments look four times a second"},
	}
}

// Avoided reports whether AvoidVariable names an optional call. It never blocks.
func Avoided(name string) bool { return slices.Contains(avoided(), name) }

var avoided = sync.OnceValue(func() []string {
	return strings.FieldsFunc(os.Getenv(AvoidVariable), func(r rune) bool { return r == ',' || r == ' ' })
})
