package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// ownNamespace runs a helper as root of a user and mount namespace of its own,
// so that it can mount and chroot whoever runs the tests.
func ownNamespace(cmd *exec.Cmd) {
	ids := func(id int) []syscall.SysProcIDMap {
		return []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: ids(os.Geteuid()), GidMappings: ids(os.Getegid()),
	}
}

// startNamespaced starts a helper in its own namespace, or skips the test.
func startNamespaced(t *testing.T, name string, args ...string) *process {
	t.Helper()
	return startNamespacedWith(t, name, func(*exec.Cmd) {}, args...)
}

// startNamespacedWith is startNamespaced with a change to the command.
func startNamespacedWith(t *testing.T, name string, change func(*exec.Cmd), args ...string) *process {
	t.Helper()
	probe := exec.Command("/proc/self/exe", "-test.run=^$")
	ownNamespace(probe)
	if err := probe.Run(); err != nil {
		t.Skipf("no user namespaces: %v", err)
	}
	return startCmd(t, name, func(cmd *exec.Cmd) {
		ownNamespace(cmd)
		change(cmd)
	}, args...)
}

// small mounts a filesystem of that size over /dev/shm.
func small(size string) error {
	if err := unix.Mount("shm", filepath.Dir(Path("x")), "tmpfs", 0, "size="+size); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	return nil
}

func freeBlocks() (uint64, error) {
	var st unix.Statfs_t
	err := unix.Statfs(filepath.Dir(Path("x")), &st)
	return st.Bfree, err
}

// fillUp writes a file until the filesystem is full.
func fillUp(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return nil
}

// crowded fills small filesystems, whose errors come from Open and New.
var crowded = helper("crowded", func(args []string) error {
	if err := small("256k"); err != nil {
		return err
	}
	s, err := Open("a", nil)
	if err != nil {
		return err
	}
	n, err := fillSegment(s, "v")
	if n < 150 || !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%d arrays, then %w", n, err)
	}
	if _, err := Open("b", nil); !errors.Is(err, syscall.ENOSPC) || !isPathError(err, Path("b")) {
		return fmt.Errorf("new segment on a full filesystem: %w", err)
	}
	if _, err := os.Lstat(Path("b")); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("it is there: %w", err)
	}
	if _, err := NewRawArray[byte](s, "huge", 1<<20); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("an array larger than the filesystem: %w", err)
	}
	if _, ok := s.Lookup("huge"); ok {
		return fmt.Errorf("it is there")
	}
	if err := errors.Join(s.Close(), Remove("a")); err != nil {
		return err
	}

	// Somebody else takes the space: what was reserved stays ours.
	for range 1000 { // the collector gives the memory of "a" back
		runtime.GC()
		if s, err = Open("c", nil); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	if err := fillUp(Path("filler")); err != nil {
		return err
	}
	n, err = fillSegment(s, "v")
	if n < 20 || !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("beside a file that fills the rest: %d arrays, then %w", n, err)
	}
	v, err := NewAtomic(s, "small", int32(1)) // in what is left of the last page, if anything
	if err == nil {
		v.Add(1)
	} else if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	if err := os.Remove(Path("filler")); err != nil {
		return err
	}
	if n, err := fillSegment(s, "w"); n < 10 || !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("after that file is gone: %d arrays, then %w", n, err)
	}
	return nil
})

// greedy asks for more than there is, of a filesystem that has some.
var greedy = helper("greedy", func(args []string) error {
	if err := small("40m"); err != nil {
		return err
	}
	s, err := Open("a", &Options{MaxSize: 256 << 20})
	if err != nil {
		return err
	}
	before, err := freeBlocks()
	if err != nil {
		return err
	}
	if _, err := NewRawArray[byte](s, "huge", 100<<20); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("an array larger than the filesystem: %w", err)
	}
	after, err := freeBlocks()
	if err != nil || after != before {
		return fmt.Errorf("%d blocks free, %d after a failed call: %w", before, after, err)
	}
	a, err := NewRawArray[byte](s, "just fits", 39<<20)
	if err == nil {
		a.Set(a.Len()-1, 1)
	}
	return err
})

func TestFullFilesystem(t *testing.T) {
	for _, name := range []string{crowded, greedy} {
		p := startNamespaced(t, name)
		p.wait()
	}
}

// curbed runs under resource limits: bytes a file may have, then of address
// space.
var curbed = helper("curbed", func(args []string) error {
	name := args[0]
	limit := func(which int, bytes uint64) error {
		return unix.Setrlimit(which, &unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY})
	}
	s, err := Open(name, nil)
	if err != nil {
		return err
	}
	v, err := NewValue(s, "n", int64(1))
	if err != nil {
		return err
	}
	if err := limit(unix.RLIMIT_FSIZE, 100<<10); err != nil {
		return err
	}
	if n, err := fillSegment(s, "v"); n < 20 || !errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("RLIMIT_FSIZE: %d arrays, then %w", n, err)
	}
	if err := limit(unix.RLIMIT_FSIZE, 4096); err != nil {
		return err
	}
	if _, err := Open(name+"b", nil); !errors.Is(err, syscall.EFBIG) || !isPathError(err, Path(name+"b")) {
		return fmt.Errorf("RLIMIT_FSIZE: new segment: %w", err)
	}
	if _, err := Anonymous(nil); !errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("RLIMIT_FSIZE: anonymous segment: %w", err)
	}
	if got := v.Add(1); got != 2 {
		return fmt.Errorf("what was there is %d", got)
	}
	if err := limit(unix.RLIMIT_FSIZE, unix.RLIM_INFINITY); err != nil {
		return err
	}

	used, err := addressSpace()
	if err != nil {
		return err
	}
	// A sixteenth of what Open asks for.
	left := uint64(defaultMaxSize() / 16)
	if err := limit(unix.RLIMIT_AS, used+left); err != nil {
		return err
	}
	big, err := Open(name+"c", nil)
	if err != nil {
		return fmt.Errorf("RLIMIT_AS: %w", err)
	}
	defer Remove(name + "c")
	mapped := len(big.m.Load().mem)
	if uint64(mapped) > left/2 || mapped < firstAllocation {
		return fmt.Errorf("RLIMIT_AS: mapped %d bytes where %d are left", mapped, left)
	}
	if _, err := NewRawArray[byte](big, "too big", mapped); !errors.Is(err, ErrFull) {
		return fmt.Errorf("RLIMIT_AS: an array of %d bytes in as many: %w", mapped, err)
	}
	if _, err := NewRawArray[byte](big, "fits", mapped/4); err != nil {
		return fmt.Errorf("RLIMIT_AS: an array of %d bytes in %d: %w", mapped/4, mapped, err)
	}
	// Another mapping of it does not fit; this program's heap does.
	if used, err = addressSpace(); err != nil {
		return err
	}
	if err := limit(unix.RLIMIT_AS, used+uint64(big.Size())/2); err != nil {
		return err
	}
	if _, err := Open(name+"c", &Options{ReadOnly: true}); !errors.Is(err, syscall.ENOMEM) || !isPathError(err, Path(name+"c")) {
		return fmt.Errorf("no address space: %w", err)
	}
	return limit(unix.RLIMIT_AS, unix.RLIM_INFINITY)
})

// defaultMaxSize returns the bytes that a segment reserves unless told.
func defaultMaxSize() int64 {
	opt, _ := (*Options)(nil).check() // the zero value is fine
	return opt.MaxSize
}

// addressSpace returns how many bytes this process has mapped.
func addressSpace() (bytes uint64, err error) {
	b, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(b), &bytes)
	}
	return bytes * uint64(pageSize), err
}

func TestResourceLimits(t *testing.T) {
	if raceEnabled || strconv.IntSize == 32 {
		t.Skip("the address space that Go itself takes is too large, or the whole too small, for this limit")
	}
	name := testName(t)
	for _, suffix := range "bc" {
		t.Cleanup(func() { _ = Remove(name + string(suffix)) })
	}
	start(t, curbed, name).wait()
}

// poor runs out of descriptors: what needs one is an error that leaves nothing
// behind, and what is attached goes on.
var poor = helper("poor", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := NewValue(s, "n", int64(0))
	if err != nil {
		return err
	}
	fresh, err := Open(args[1], nil)
	if err != nil {
		return err
	}
	defer fresh.Close()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: 3}); err != nil {
		return err
	}
	// Without a description of its own it must not make anything: a lock through
	// the segment's would end when any other one of the file is closed here.
	for what, err := range map[string]error{
		"raw":    second(NewRawValue(fresh, "raw", int8(0))),
		"locked": second(NewValue(fresh, "locked", int8(0))),
		"mutex":  second(NewMutex(fresh, "mutex")),
	} {
		if _, ok := fresh.Lookup(what); ok || !errors.Is(err, syscall.EMFILE) {
			return fmt.Errorf("%s without descriptors: made: %v, %w", what, ok, err)
		}
	}
	if _, err := NewRawValue(s, "raw", int8(0)); err != nil {
		return fmt.Errorf("where nothing is opened: %w", err)
	}
	fmt.Println("waiting")
	v.Mutex().Lock()
	fmt.Println("locked", v.Mutex().Abandoned())
	return nil
})

func TestNoDescriptors(t *testing.T) {
	name, v := locked(t)
	holder := startAgent(t, name)
	holder.must("lock", "locked")
	p := start(t, poor, name, testName(t))
	p.expect("waiting")
	sleeping(t, v.Mutex(), true)
	holder.kill()
	within(t, "the lock of a dead holder, without a pidfd", func() { p.expect("locked true") })
	p.wait()
}
