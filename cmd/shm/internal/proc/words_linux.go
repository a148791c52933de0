package proc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mostWords is how many words one call of futex_waitv takes.
const mostWords = 128

// Words returns the offsets, in a file that a process has mapped, of the words on which
// threads of the process sleep. The error wraps fs.ErrPermission if this user may not
// trace the process.
func Words(pid int, k Key) (offsets []int64, err error) {
	areas, err := areasOf(pid, k)
	if err != nil {
		return nil, err
	}
	threads, err := os.ReadDir(dir(pid, "task"))
	if err != nil {
		return nil, err
	}
	for _, t := range threads {
		b, err := os.ReadFile(filepath.Join(dir(pid, "task"), t.Name(), "syscall"))
		if errors.Is(err, fs.ErrPermission) {
			return nil, err
		}
		if err != nil {
			continue // it has ended
		}
		for _, addr := range sleepsOn(pid, string(b)) {
			for _, a := range areas {
				if addr >= a.start && addr < a.end {
					if off := a.offset + int64(addr-a.start); !slices.Contains(offsets, off) {
						offsets = append(offsets, off)
					}
				}
			}
		}
	}
	return offsets, nil
}

// sleepsOn returns the addresses of the words on which a thread sleeps. call is what
// /proc says of its system call: the number and the arguments.
func sleepsOn(pid int, call string) (addrs []uint64) {
	fields := strings.Fields(call)
	if len(fields) < 3 {
		return nil // it runs
	}
	number, err := strconv.Atoi(fields[0])
	arg := func(i int) uint64 {
		n, _ := strconv.ParseUint(strings.TrimPrefix(fields[1+i], "0x"), 16, 64)
		return n
	}
	switch {
	case err != nil:
	case number == unix.SYS_FUTEX:
		return []uint64{arg(0)}
	case number == unix.SYS_FUTEX_WAITV:
		f, err := os.Open(dir(pid, "mem"))
		if err != nil {
			return nil
		}
		defer f.Close()
		const size = 24 // of struct futex_waitv: value, address, flags
		b := make([]byte, size*min(arg(1), mostWords))
		if _, err := f.ReadAt(b, int64(arg(0))); err != nil {
			return nil
		}
		for w := range slices.Chunk(b, size) {
			addrs = append(addrs, binary.NativeEndian.Uint64(w[8:]))
		}
	}
	return addrs
}

// area is a part of a file in the memory of a process.
type area struct {
	start, end uint64
	offset     int64
}

func areasOf(pid int, k Key) (all []area, err error) {
	err = eachMapping(pid, func(key Key, fields [][]byte) {
		if key != k {
			return
		}
		var a area
		if _, err := fmt.Sscanf(string(fields[0]), "%x-%x", &a.start, &a.end); err != nil {
			return
		}
		if a.offset, err = strconv.ParseInt(string(bytes.TrimSpace(fields[2])), 16, 64); err == nil {
			all = append(all, a)
		}
	})
	return all, err
}
