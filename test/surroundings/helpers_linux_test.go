package surroundings_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// reason returns the text of the sentinel that an error wraps. A helper prints it.
func reason(err error) string {
	for _, e := range []error{shm.ErrInsecure, shm.ErrFormat, fs.ErrPermission, fs.ErrNotExist} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return err.Error()
}

// descriptors returns how many descriptors of a file this process has. It goes by
// the inode, because in /proc a file that was made without a name keeps the name
// that it has there.
func descriptors(t shmtest.TB, inode uint64) (n int) {
	t.Helper()
	for _, e := range shmtest.Must(os.ReadDir("/proc/self/fd"))(t) {
		var st syscall.Stat_t
		if syscall.Stat("/proc/self/fd/"+e.Name(), &st) == nil && st.Ino == inode {
			n++
		}
	}
	return n
}

// maps is /proc/self/maps. It stays open for processes that run out of descriptors.
var maps = sync.OnceValues(func() (*os.File, error) { return os.Open("/proc/self/maps") })

// mappings returns how often this process has mapped a file, and how many bytes of
// address space that takes.
func mappings(t shmtest.TB, inode uint64) (n int, bytes int64) {
	t.Helper()
	f := shmtest.Must(maps())(t)
	shmtest.Must(f.Seek(0, io.SeekStart))(t)
	end := int64(-1) // of the range before: one mapping may have parts that a core dump leaves out
	for line := range strings.Lines(string(shmtest.Must(io.ReadAll(f))(t))) {
		words := strings.Fields(line)
		isMemory := len(words) > 5 && (strings.HasPrefix(words[5], shmtest.SharedDir()) || strings.HasPrefix(words[5], "/memfd:"))
		if !isMemory || words[4] != fmt.Sprint(inode) {
			continue
		}
		var from, to int64
		if _, err := fmt.Sscanf(words[0], "%x-%x", &from, &to); err != nil {
			t.Fatal(err)
		}
		if from != end {
			n++
		}
		end = to
		bytes += to - from
	}
	return n, bytes
}

// reserved returns how many bytes of address space a segment takes. That is how
// large it can grow here.
func reserved(t shmtest.TB, s *shm.Segment) int64 {
	t.Helper()
	n, bytes := mappings(t, shmtest.Must(shmtest.Inode(s.File()))(t))
	if n != 1 {
		t.Fatalf("%s is mapped %d times", s.Name(), n)
	}
	return bytes
}

// defaultMaxSize returns Options.MaxSize of a segment that is made without options.
func defaultMaxSize() int64 {
	if strconv.IntSize == 32 {
		return 64 << 20
	}
	return 4 << 30
}

// addressSpace returns how many bytes this process has mapped.
func addressSpace() (bytes uint64, err error) {
	b, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(b), &bytes)
	}
	return bytes * uint64(sys.PageSize), err
}

// fillSegment makes arrays of 100 numbers and writes them, until it fails. Then it
// checks all of them.
func fillSegment(s *shm.Segment, prefix string) (n int, failed error) {
	var all []shm.RawArray[uint64]
	for {
		a, err := shm.NewRawArray[uint64](s, fmt.Sprint(prefix, n), 100)
		if err != nil {
			failed = err
			break
		}
		for i := range a.Len() {
			a.Set(i, uint64(n))
		}
		all = append(all, a)
		n++
	}
	for i, a := range all {
		for _, x := range a.All() {
			if x != uint64(i) {
				return n, fmt.Errorf("array %d has a %d", i, x)
			}
		}
	}
	return n, failed
}
