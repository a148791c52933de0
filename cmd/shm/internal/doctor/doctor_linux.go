package doctor

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"example.org/shm/cmd/shm/internal/form"
	"golang.org/x/sys/unix"
)

// Looks says what Examine looks at.
const Looks = "the kernel, /dev/shm, limits, systemd's RemoveIPC and containers"

// Examine makes all checks. The only thing that it makes is a segment without a name,
// which is gone when it returns.
func Examine() []Finding {
	all := []Finding{kernel(), works()}
	all = append(all, calls()...)
	all = append(all, sharedMemory()...)
	all = append(all, limits()...)
	return append(all, removal(), container(), memory(), filter(), avoided())
}

func kernel() Finding {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Finding{"kernel", Note, err.Error(), ""}
	}
	release := unix.ByteSliceToString(u.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err == nil && (major < 3 || major == 3 && minor < 17) {
		return Finding{"kernel", Bad, release, "locks need Linux 3.15, segments without a name 3.17"}
	}
	return Finding{"kernel", Fine, release, ""}
}

// calls tries the system calls that the library uses if it can.
func calls() (all []Finding) {
	for _, c := range []struct {
		name   string
		number uintptr
		args   [3]uintptr // for which the call fails at once, if it exists
		since  string
		means  string
	}{
		{"pidfd_open", unix.SYS_PIDFD_OPEN, [3]uintptr{0, 0, 0}, "5.3", "a waiter learns of the death of a holder later, by probing"},
		{"futex_waitv", unix.SYS_FUTEX_WAITV, [3]uintptr{0, 0, 0}, "5.16", "a program that awaits more than 16 values looks at the others a hundred times a second"},
	} {
		_, _, err := unix.Syscall6(c.number, c.args[0], c.args[1], c.args[2], 0, 0, 0)
		switch err {
		case unix.ENOSYS:
			all = append(all, Finding{c.name, Note, "not there (Linux " + c.since + ")", c.means})
		case unix.EPERM, unix.EACCES:
			all = append(all, Finding{c.name, Note, "forbidden by a filter", c.means})
		default:
			all = append(all, Finding{c.name, Fine, "there", ""})
		}
	}
	return all
}

// sharedMemory looks at /dev/shm.
func sharedMemory() []Finding {
	const dir = "/dev/shm"
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return []Finding{{dir, Bad, err.Error(), "names without a slash need it: mount a tmpfs there, or use paths in another one"}}
	}
	all := []Finding{space(dir, &st)}
	if unix.Access(dir, unix.W_OK) != nil {
		all = append(all, Finding{dir + " writable", Bad, "not by this user", "Open cannot make a segment there"})
	}
	if st.Files > 0 && st.Ffree < st.Files/20 {
		all = append(all, Finding{dir + " inodes", Bad, fmt.Sprintf("%d of %d free", st.Ffree, st.Files), "no more files can be made there"})
	}
	if _, err := os.Readlink("/proc/self/fd/0"); err != nil && !errors.Is(err, os.ErrNotExist) {
		all = append(all, Finding{"/proc", Bad, err.Error(), "segments need /proc, mounted"})
	} else if unix.Access("/proc/self/fd", unix.R_OK) != nil {
		all = append(all, Finding{"/proc", Bad, "not mounted", "segments need it"})
	} else {
		all = append(all, Finding{"/proc", Fine, "mounted", ""})
	}
	return all
}

// space says how large a filesystem is, and how much of it is free.
func space(dir string, st *unix.Statfs_t) Finding {
	size, free := int64(st.Blocks)*int64(st.Bsize), int64(st.Bavail)*int64(st.Bsize)
	f := Finding{dir, Fine, fmt.Sprintf("%s, %s free", form.Bytes(size), form.Bytes(free)), ""}
	if size == 0 { // a tmpfs has none with the option size=0
		f.Found = "a filesystem without a size"
	}
	switch {
	case st.Type != unix.TMPFS_MAGIC:
		f.Verdict, f.Means = Note, "it is no tmpfs: segments are on a disk, and writing back costs time"
	case size == 0:
	case free < 1<<20 || free < size/20:
		f.Verdict, f.Means = Bad, "new values get ENOSPC: remove segments (shm rm -unused -n), or make it larger (mount -o remount,size=…)"
	case size <= 64<<20:
		f.Verdict, f.Means = Note, "the small default of containers: docker run --shm-size, or an emptyDir with medium Memory"
	}
	return f
}

// limits looks at the limits of processes that this one starts.
func limits() (all []Finding) {
	for _, l := range []struct {
		name     string
		resource int
		enough   uint64
		bytes    bool
		means    string
	}{
		{"open files", unix.RLIMIT_NOFILE, 256, false, "a process needs a few for each segment: ulimit -n"},
		{"address space", unix.RLIMIT_AS, math.MaxUint64, true, "a segment reserves Options.MaxSize of addresses, 4 GiB by default: ulimit -v, or a smaller MaxSize"},
		{"size of a file", unix.RLIMIT_FSIZE, math.MaxUint64, true, "a segment cannot grow beyond it: ulimit -f"},
	} {
		var r unix.Rlimit
		if err := unix.Getrlimit(l.resource, &r); err != nil {
			continue
		}
		found := strconv.FormatUint(r.Cur, 10)
		switch {
		case r.Cur == unix.RLIM_INFINITY:
			found = "unlimited"
		case l.bytes:
			found = form.Bytes(int64(min(r.Cur, math.MaxInt64)))
		}
		if r.Cur < l.enough && r.Cur != unix.RLIM_INFINITY {
			all = append(all, Finding{"limit: " + l.name, Note, found, l.means})
		} else {
			all = append(all, Finding{"limit: " + l.name, Fine, found, ""})
		}
	}
	return all
}

// removal says whether systemd removes the segments of users that log out.
func removal() Finding {
	const check = "RemoveIPC"
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return Finding{check, Fine, "systemd does not run here", ""}
	}
	remove := true // the default
	files, _ := filepath.Glob("/etc/systemd/logind.conf.d/*.conf")
	slices.Sort(files)
	for _, name := range append([]string{"/etc/systemd/logind.conf"}, files...) {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if v, ok := strings.CutPrefix(strings.ReplaceAll(lines.Text(), " ", ""), "RemoveIPC="); ok {
				remove = slices.Contains([]string{"yes", "true", "1", "on"}, strings.ToLower(v))
			}
		}
		_ = f.Close()
	}
	if !remove {
		return Finding{check, Fine, "off", ""}
	}
	return Finding{check, Note, "on", "systemd removes what a user who is no system user has in /dev/shm when his last session ends: run services as a system user, or set RemoveIPC=no in logind.conf"}
}

// container says whether this is one.
func container() Finding {
	const check = "container"
	for _, file := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(file); err == nil {
			return Finding{check, Note, file + " exists", "other containers see the segments only if they share /dev/shm (docker run --ipc) or a directory on a tmpfs; pids count from 1 in each, and leases work across them"}
		}
	}
	if b, err := os.ReadFile("/proc/1/cgroup"); err == nil && strings.Contains(string(b), "kubepods") {
		return Finding{check, Note, "Kubernetes", "containers of a pod share segments through an emptyDir with medium Memory"}
	}
	return Finding{check, Fine, "no sign of one", ""}
}

// memory looks at the limit of the control group, which counts segments.
func memory() Finding {
	const check = "memory limit"
	b, err := os.ReadFile("/sys/fs/cgroup/memory.max")
	text := strings.TrimSpace(string(b))
	n, parse := strconv.ParseInt(text, 10, 64)
	if err != nil || parse != nil {
		return Finding{check, Fine, "none for this control group", ""}
	}
	return Finding{check, Note, form.Bytes(n), "segments count as memory of the group whose process added the value"}
}

// filter says whether system calls are filtered.
func filter() Finding {
	const check = "filter of system calls"
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "Seccomp:"); ok && strings.TrimSpace(v) == "2" {
			return Finding{check, Note, "there is one", "docs/system-calls.md lists what it has to let through; SHM_AVOID switches optional calls off"}
		}
	}
	return Finding{check, Fine, "none", ""}
}

// avoided says which system calls are switched off.
func avoided() Finding {
	const check = "SHM_AVOID"
	if v := os.Getenv(check); v != "" {
		return Finding{check, Note, form.Text(v), "programs that inherit it do without these system calls"}
	}
	return Finding{check, Fine, "not set", ""}
}
