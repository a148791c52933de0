package surroundings_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
	"golang.org/x/sys/unix"
)

func freeBlocks() (uint64, error) {
	var st unix.Statfs_t
	err := unix.Statfs(shmtest.SharedDir(), &st)
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

// crowded fills a small filesystem. Open and the constructors return the system's
// error, and leave nothing.
var crowded = shmtest.Helper("crowded", func(args []string) error {
	if err := shmtest.MountShared("256k"); err != nil {
		return err
	}
	s, err := shm.Open("a", nil)
	if err != nil {
		return err
	}
	n, err := fillSegment(s, "v")
	if n < 150 || !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%d arrays, then %w", n, err)
	}
	if _, err := shm.Open("b", nil); !errors.Is(err, syscall.ENOSPC) || !shmtest.IsPathError(err, shm.Path("b")) {
		return fmt.Errorf("new segment on a full filesystem: %w", err)
	}
	if _, err := os.Lstat(shm.Path("b")); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("it is there: %w", err)
	}
	if _, err := shm.NewRawArray[byte](s, "huge", 1<<20); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("an array larger than the filesystem: %w", err)
	}
	if _, ok := s.Lookup("huge"); ok {
		return errors.New("it is there")
	}
	if err := errors.Join(s.Close(), shm.Remove("a")); err != nil {
		return err
	}

	// Somebody else takes the space. What was reserved stays ours.
	for range 1000 { // The garbage collector gives the memory of "a" back.
		runtime.GC()
		if s, err = shm.Open("c", nil); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	if err := fillUp(shm.Path("filler")); err != nil {
		return err
	}
	n, err = fillSegment(s, "v")
	if n < 20 || !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("beside a file that fills the rest: %d arrays, then %w", n, err)
	}
	v, err := shm.NewAtomic(s, "small", int32(1)) // in what is left of the last page, if anything
	if err == nil {
		v.Add(1)
	} else if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	if err := os.Remove(shm.Path("filler")); err != nil {
		return err
	}
	if n, err := fillSegment(s, "w"); n < 10 || !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("after that file is gone: %d arrays, then %w", n, err)
	}
	return nil
})

// greedy asks a filesystem that has some space for more than that.
var greedy = shmtest.Helper("greedy", func(args []string) error {
	if err := shmtest.MountShared("40m"); err != nil {
		return err
	}
	s, err := shm.Open("a", &shm.Options{MaxSize: 256 << 20})
	if err != nil {
		return err
	}
	before, err := freeBlocks()
	if err != nil {
		return err
	}
	if _, err := shm.NewRawArray[byte](s, "huge", 100<<20); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("an array larger than the filesystem: %w", err)
	}
	after, err := freeBlocks()
	if err != nil || after != before {
		return fmt.Errorf("%d blocks free, %d after a failed call: %w", before, after, err)
	}
	a, err := shm.NewRawArray[byte](s, "just fits", 39<<20)
	if err == nil {
		a.Set(a.Len()-1, 1)
	}
	return err
})

func TestFullFilesystem(t *testing.T) {
	shmtest.NeedLinux(t, "segment without a lease file, which needs room itself")
	inNamespace := shmtest.InNamespace(t)
	for _, helper := range []string{crowded, greedy} {
		shmtest.StartCmd(t, helper, inNamespace).Wait()
	}
}

// curbed runs with limits of its resources: first of the size of files, then of
// address space.
var curbed = shmtest.Helper("curbed", func(args []string) error {
	name := args[0]
	limit := func(which int, bytes uint64) error {
		return unix.Setrlimit(which, &unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY})
	}
	s, err := shm.Open(name, nil)
	if err != nil {
		return err
	}
	defer s.Close() // else its address space is given back when that is short
	v, err := shm.NewValue(s, "n", int64(1))
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
	if _, err := shm.Open(name+"b", nil); !errors.Is(err, syscall.EFBIG) || !shmtest.IsPathError(err, shm.Path(name+"b")) {
		return fmt.Errorf("RLIMIT_FSIZE: new segment: %w", err)
	}
	if _, err := shm.Anonymous(nil); !errors.Is(err, syscall.EFBIG) {
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
	left := defaultMaxSize() / 16 // of what Open asks for
	if err := limit(unix.RLIMIT_AS, used+uint64(left)); err != nil {
		return err
	}
	big, err := shm.Open(name+"c", nil)
	if err != nil {
		return fmt.Errorf("RLIMIT_AS: %w", err)
	}
	defer big.Close()
	defer shm.Remove(name + "c")
	mapped := reserved(shmtest.InHelper, big)
	if mapped > left/2 || mapped < format.FirstAllocation {
		return fmt.Errorf("RLIMIT_AS: mapped %d bytes where %d are left", mapped, left)
	}
	if _, err := shm.NewRawArray[byte](big, "too big", int(mapped)); !errors.Is(err, shm.ErrFull) {
		return fmt.Errorf("RLIMIT_AS: an array of %d bytes in as many: %w", mapped, err)
	}
	if _, err := shm.NewRawArray[byte](big, "fits", int(mapped/4)); err != nil {
		return fmt.Errorf("RLIMIT_AS: an array of %d bytes in %d: %w", mapped/4, mapped, err)
	}
	// There is no space to map it once more, but there is for the heap of this program.
	if used, err = addressSpace(); err != nil {
		return err
	}
	if err := limit(unix.RLIMIT_AS, used+uint64(big.Size())/2); err != nil {
		return err
	}
	if _, err := shm.Open(name+"c", &shm.Options{ReadOnly: true}); !errors.Is(err, syscall.ENOMEM) || !shmtest.IsPathError(err, shm.Path(name+"c")) {
		return fmt.Errorf("no address space: %w", err)
	}
	return limit(unix.RLIMIT_AS, unix.RLIM_INFINITY)
})

func TestResourceLimits(t *testing.T) {
	if race.Enabled || strconv.IntSize == 32 {
		t.Skip("the address space that Go itself takes is too large, or the whole too small, for this limit")
	}
	name := shmtest.Name(t)
	for _, suffix := range "bc" {
		t.Cleanup(func() { _ = shm.Remove(name + string(suffix)) })
	}
	shmtest.Start(t, curbed, name).Wait()
}

// poor runs out of descriptors. What needs one returns an error and leaves nothing,
// and what is attached goes on.
var poor = shmtest.Helper("poor", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := shm.NewValue(s, agent.ValueName, int64(0))
	if err != nil {
		return err
	}
	fresh, err := shm.Open(args[1], nil)
	if err != nil {
		return err
	}
	defer fresh.Close()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: 3}); err != nil {
		return err
	}
	// Without a description of its own the process must not make anything: a lock
	// through the segment's would end when any other one of the file is closed here.
	for what, err := range map[string]error{
		"raw":    shmtest.Error(shm.NewRawValue(fresh, "raw", int8(0))),
		"locked": shmtest.Error(shm.NewValue(fresh, "locked", int8(0))),
		"mutex":  shmtest.Error(shm.NewMutex(fresh, "mutex")),
	} {
		if _, ok := fresh.Lookup(what); ok || !errors.Is(err, syscall.EMFILE) {
			return fmt.Errorf("%s without descriptors: made: %v, %w", what, ok, err)
		}
	}
	if _, err := shm.NewRawValue(s, "raw", int8(0)); err != nil {
		return fmt.Errorf("where nothing is opened: %w", err)
	}
	fmt.Println("waiting")
	v.Mutex().Lock()
	fmt.Println("locked", v.Mutex().Abandoned())
	return nil
})

// The watch on a holder that dies goes on without a descriptor for its process.
func TestNoDescriptors(t *testing.T) {
	shmtest.NeedLinux(t, "need of a descriptor for the locks of each segment")
	s, _ := agent.Locked(t)
	holder := agent.Start(t, s.Name())
	holder.Do("lock", "locked")
	p := shmtest.Start(t, poor, s.Name(), shmtest.Name(t))
	p.Expect("waiting")
	agent.Sleeping(t, agent.Cell(t, s, agent.ValueName), true)
	holder.Kill()
	p.Expect("locked true")
	p.Wait()
}
