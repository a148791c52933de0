package mem_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"example.org/shm/internal/mem"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"golang.org/x/sys/unix"
)

// omitted returns how many bytes of b core dumps leave out.
func omitted(t *testing.T, b []byte) (n int64) {
	t.Helper()
	f := shmtest.Opened(os.Open("/proc/self/smaps"))(t)
	start := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	var from, to uintptr
	for s := bufio.NewScanner(f); s.Scan(); {
		var low, high uintptr
		if _, err := fmt.Sscanf(s.Text(), "%x-%x ", &low, &high); err == nil {
			from, to = low, high
			continue
		}
		flags, ok := strings.CutPrefix(s.Text(), "VmFlags:")
		if ok && strings.Contains(flags+" ", " dd ") {
			if low, high := max(from, start), min(to, start+uintptr(len(b))); low < high {
				n += int64(high - low)
			}
		}
	}
	return n
}

// What is only reserved is not in core dumps, and what the file grows into is from
// Dumped on. All that is asked for consists of whole pages, also if these are larger than
// the kernel's.
func TestReservationIsNotDumped(t *testing.T) {
	shmtest.NeedLinux(t, "way to keep memory out of core dumps")
	kernels := sys.PageSize
	defer func() { sys.PageSize = kernels }()
	for _, page := range []int64{kernels, max(kernels, 16<<10), max(kernels, 64<<10)} {
		sys.PageSize = page
		t.Run(fmt.Sprint(page), reservationIsNotDumped)
	}
}

func reservationIsNotDumped(t *testing.T) {
	const size, allocated = 64 << 20, 64 << 10
	f := shmtest.Opened(sys.CreateAnonymous([]byte{1}, allocated))(t)
	for _, readOnly := range []bool{false, true} {
		b := shmtest.Must(mem.Map(f, "path", size, allocated, readOnly))(t)
		r := mem.Region{Bytes: b, Path: "path", ReadOnly: readOnly}
		for _, step := range []struct{ end, dumped int64 }{
			{0, allocated}, {allocated, allocated}, {allocated + 1, allocated + sys.PageSize}, {1 << 20, 1 << 20},
			{allocated, 1 << 20}, {size, size}, {size + 1, size},
		} {
			r.Dumped(step.end)
			if n := omitted(t, b); n != size-step.dumped {
				t.Errorf("read-only %v, grown to %d: %d bytes are left out, want %d", readOnly, step.end, n, size-step.dumped)
			}
		}
		if err := mem.Unmap(b); err != nil {
			t.Fatal(err)
		}
	}
}

// dumper maps an anonymous segment with much reserved space, writes to what it has and to
// what it grows into, and dumps core.
var dumper = shmtest.Helper("dumper", func([]string) error {
	const allocated = 64 << 10
	f, err := sys.CreateAnonymous(nil, allocated)
	if err != nil {
		return err
	}
	b, err := mem.Map(f, "path", 4<<30, allocated, false)
	if err != nil {
		return err
	}
	if err := sys.Reserve(f, "path", allocated, 2*allocated); err != nil {
		return err
	}
	r := mem.Region{Bytes: b, Path: "path"}
	r.Dumped(2 * allocated)
	for i, at := range []int{100, allocated + 100} {
		copy(b[at:], "mark")
		copy(b[at+4:], fmt.Sprintf("%d of %d", i, os.Getpid()))
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}); err != nil {
		return err
	}
	fmt.Println(os.Getpid())
	signal := unix.SIGQUIT // Go leaves its default to the kernel if GOTRACEBACK is crash, after its own report
	return syscall.Kill(os.Getpid(), signal)
})

func TestCoreDump(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes a core dump")
	}
	pattern := strings.TrimSpace(string(shmtest.Must(os.ReadFile("/proc/sys/kernel/core_pattern"))(t)))
	if pattern == "" || strings.ContainsAny(pattern, "|/%") {
		t.Skipf("core dumps go elsewhere here: %s", pattern)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can lift the limit of core dumps")
	}
	dir := t.TempDir()
	start := time.Now()
	p := shmtest.StartCmd(t, dumper, func(cmd *exec.Cmd) {
		cmd.Dir, cmd.Env = dir, append(cmd.Environ(), "GOTRACEBACK=crash")
		cmd.Stderr = shmtest.Must(os.OpenFile(os.DevNull, os.O_WRONLY, 0))(t)
	})
	pid := p.Line()
	_ = p.End()
	names := shmtest.Must(filepath.Glob(filepath.Join(dir, pattern+"*")))(t)
	if len(names) != 1 {
		t.Skipf("no core dump was written: %v", names)
	}
	info := shmtest.Must(os.Stat(names[0]))(t)
	t.Logf("a core dump of %d MiB, after %v", info.Size()>>20, time.Since(start))
	if info.Size() > 1<<30 {
		t.Fatal("the reserved space is in it")
	}
	core := shmtest.Must(os.ReadFile(names[0]))(t)
	for i := range 2 {
		if !bytes.Contains(core, fmt.Appendf(nil, "mark%d of %s", i, pid)) {
			t.Errorf("what was written in part %d is not in it", i)
		}
	}
}
