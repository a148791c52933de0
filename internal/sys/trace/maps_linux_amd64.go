package trace

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// mapping is a part of a process's address space in which it maps the file.
type mapping struct{ start, end uint64 }

// writableMappings returns where a process maps the file shared and may write.
func writableMappings(pid int, file *os.File) (found []mapping, err error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(file.Fd()), &st); err != nil {
		return nil, err
	}
	device := fmt.Sprintf("%02x:%02x", unix.Major(st.Dev), unix.Minor(st.Dev))
	inode := strconv.FormatUint(st.Ino, 10)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		// address-address rwxs offset device inode path
		words := strings.Fields(lines.Text())
		if len(words) < 5 || words[3] != device || words[4] != inode || !strings.HasPrefix(words[1][1:], "w") || words[1][3] != 's' {
			continue
		}
		var m mapping
		if _, err := fmt.Sscanf(words[0], "%x-%x", &m.start, &m.end); err != nil {
			return nil, err
		}
		found = append(found, m)
	}
	return found, nil
}

// image is what the file had when it was last read.
type image struct {
	file  *os.File
	known []byte
	buf   []byte
}

// changes reads the file and returns its size and what differs from the last time. It
// reports whether anything does.
func (im *image) changes() (size int64, found []Change, changed bool, err error) {
	info, err := im.file.Stat()
	if err != nil {
		return 0, nil, false, err
	}
	size = info.Size()
	changed = size != int64(len(im.known))
	if n := size - int64(len(im.known)); n > 0 {
		im.known = append(im.known, make([]byte, n)...)
	} else {
		im.known = im.known[:size]
	}
	if im.buf == nil {
		im.buf = make([]byte, 64<<10)
	}
	for off := int64(0); off < size; {
		// Holes have zeros, now as before: nobody punches them.
		data, err := unix.Seek(int(im.file.Fd()), off, unix.SEEK_DATA)
		if err == unix.ENXIO {
			break
		} else if err == nil {
			off = data / ChangeSize * ChangeSize
		}
		n, err := im.file.ReadAt(im.buf[:min(int64(len(im.buf)), size-off)], off)
		if err != nil && err != io.EOF {
			return 0, nil, false, err
		}
		if n == 0 {
			break
		}
		for from := 0; from < n; from += ChangeSize {
			now := im.buf[from:min(from+ChangeSize, n)]
			old := im.known[off+int64(from):][:len(now)]
			if bytes.Equal(now, old) {
				continue
			}
			first, end := 0, len(now)
			for now[first] == old[first] {
				first++
			}
			for now[end-1] == old[end-1] {
				end--
			}
			copy(old, now)
			found = append(found, Change{off + int64(from+first), bytes.Clone(now[first:end])})
		}
		off += int64(n)
	}
	return size, found, changed || len(found) > 0, nil
}
