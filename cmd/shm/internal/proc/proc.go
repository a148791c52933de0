// Package proc finds out from /proc which processes have a file mapped, and what state
// they are in.
package proc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Key identifies a file among all that are mapped.
type Key struct {
	Major, Minor uint64
	Inode        uint64
}

// State is what a process does.
type State string

// The states.
const (
	Running State = "running" // or sleeping
	Stopped State = "stopped" // by a signal or a debugger
	Dead    State = "dead"    // ended, and not yet waited for
	Gone    State = "gone"    // there is no such process
	Unknown State = "unknown" // the system does not say
)

// Process is a process that has a file mapped.
type Process struct {
	Pid      int
	NSPid    int    // its pid in its own pid namespace
	PidNS    string // that namespace, such as 4026531836
	Program  string
	State    State
	ReadOnly bool // it has no mapping through which it can write
}

// Maps is who has which files mapped.
type Maps struct {
	by       map[Key][]Process
	Hidden   int  // processes whose mappings this user may not see
	Unlisted bool // there may be processes of which this user is not even told that they exist
	Blind    bool // the system has no /proc that shows mappings: no process is in Maps
}

// Of returns the processes that have a file mapped, in the order of their pids, without
// this one.
func (m *Maps) Of(k Key) []Process { return m.by[k] }

// Scan looks at the mappings of all processes but this one.
func Scan() (*Maps, error) {
	m := &Maps{by: map[Key][]Process{}}
	if runtime.GOOS != "linux" {
		m.Blind = true
		return m, nil
	}
	self, err := os.Readlink("/proc/self")
	if errors.Is(err, fs.ErrNotExist) { // it is not mounted
		m.Blind = true
		return m, nil
	}
	entries, errList := os.ReadDir("/proc")
	if err := errors.Join(err, errList); err != nil {
		return nil, err
	}
	var pids []int
	first := self == "1"
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && e.Name() != self {
			pids = append(pids, pid)
			first = first || pid == 1
		}
	}
	slices.Sort(pids)
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	m.Unlisted = !first || os.Geteuid() != 0 && leavesOut(string(mounts))
	for _, pid := range pids {
		mapped, err := mappings(pid)
		switch {
		case errors.Is(err, fs.ErrPermission):
			m.Hidden++
		case err != nil || len(mapped) == 0: // it has ended, or is a thread of the kernel
		default:
			var p Process
			for k, writable := range mapped {
				if p.Pid == 0 {
					p = look(pid)
				}
				p.ReadOnly = !writable
				m.by[k] = append(m.by[k], p)
			}
		}
	}
	return m, nil
}

// leavesOut reports whether a list of mounts says that /proc has no entry for the processes of
// other users: see hidepid in proc(5). Without it there is at least the first process of the
// pid namespace.
func leavesOut(mounts string) (is bool) {
	for line := range strings.Lines(mounts) {
		before, after, _ := strings.Cut(line, " - ")
		at, options := strings.Fields(before), strings.Fields(after)
		if len(at) < 5 || at[4] != "/proc" || len(options) < 3 {
			continue
		}
		is = false // a later mount covers an earlier one
		for o := range strings.SplitSeq(options[2], ",") {
			switch o {
			case "hidepid=2", "hidepid=invisible", "hidepid=4", "hidepid=ptraceable":
				is = true
			}
		}
	}
	return is
}

// mappings returns the shared mappings of a process, and whether it can write through
// one.
func mappings(pid int) (map[Key]bool, error) {
	found := map[Key]bool{}
	err := eachMapping(pid, func(k Key, fields [][]byte) { found[k] = found[k] || fields[1][1] == 'w' })
	return found, err
}

// eachMapping calls f for each shared mapping of a file, with the fields of its line:
// addresses, permissions, offset, device and inode.
func eachMapping(pid int, f func(k Key, fields [][]byte)) error {
	file, err := os.Open(dir(pid, "maps"))
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := bytes.Fields(lines.Bytes())
		if len(fields) < 5 || len(fields[1]) != 4 || fields[1][3] != 's' {
			continue
		}
		var k Key
		if k.Inode, err = strconv.ParseUint(string(fields[4]), 10, 64); err != nil || k.Inode == 0 {
			continue
		}
		major, minor, _ := strings.Cut(string(fields[3]), ":")
		k.Major, _ = strconv.ParseUint(major, 16, 64)
		k.Minor, _ = strconv.ParseUint(minor, 16, 64)
		f(k, fields)
	}
	return lines.Err()
}

// look returns what /proc says of a process.
func look(pid int) Process {
	p := Process{Pid: pid, NSPid: pid, State: StateOf(pid)}
	comm, _ := os.ReadFile(dir(pid, "comm"))
	p.Program = strings.TrimSuffix(string(comm), "\n")
	if link, err := os.Readlink(dir(pid, "ns/pid")); err == nil {
		p.PidNS = strings.Trim(strings.TrimPrefix(link, "pid:"), "[]")
	}
	status, _ := os.ReadFile(dir(pid, "status"))
	for line := range strings.Lines(string(status)) {
		if all, ok := strings.CutPrefix(line, "NSpid:"); ok {
			if fields := strings.Fields(all); len(fields) > 0 {
				if n, err := strconv.Atoi(fields[len(fields)-1]); err == nil {
					p.NSPid = n
				}
			}
		}
	}
	return p
}

// StateOf returns the state of a process.
func StateOf(pid int) State {
	stat, err := os.ReadFile(dir(pid, "stat"))
	if errors.Is(err, fs.ErrNotExist) {
		return Gone
	}
	// The name of the program is in parentheses, and may have some itself.
	i := bytes.LastIndexByte(stat, ')')
	if err != nil || i < 0 || i+2 >= len(stat) {
		return Unknown
	}
	switch stat[i+2] {
	case 'T', 't':
		return Stopped
	case 'Z', 'X', 'x':
		return Dead
	}
	return Running
}

func dir(pid int, file string) string { return filepath.Join("/proc", fmt.Sprint(pid), file) }
