//go:build linux && !shmportable

package sys_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"golang.org/x/sys/unix"
)

// createAll creates a named and an anonymous file, and attaches to the first, under
// filters: its arguments are the path, the errno and the calls that fail with it.
var createAll = shmtest.Helper("createAll", func(args []string) error {
	errno, err := strconv.ParseUint(args[1], 10, 32)
	if err != nil {
		return err
	}
	if err := shmtest.Refuse(unix.Errno(errno), args[2:]...); err != nil {
		return err
	}
	f, err := sys.CreateNamed(args[0], 0o600, header, created)
	if err != nil {
		return err
	}
	if _, err := sys.CreateNamed(args[0], 0o600, header, created); !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("the name exists: %w", err)
	}
	again, err := sys.OpenExisting(args[0], false)
	if err != nil {
		return err
	}
	if err := sys.CheckNamed(again, args[0], 0o600, false); err != nil {
		return err
	}
	if got, err := sys.TryLock(again, 1<<61); !got || err != nil {
		return fmt.Errorf("the lock of the creator is kept: %w", err)
	}
	a, err := sys.CreateAnonymous(header, created)
	if err != nil {
		return err
	}
	st, err := a.Stat()
	if err != nil {
		return err
	}
	if _, err := sys.Reopen(a, sys.AnonymousPath); err != nil || st.Size() != created {
		return fmt.Errorf("the anonymous one: %w", err)
	}
	return errors.Join(f.Close(), again.Close(), a.Close())
})

// refusals are calls that may be refused together, and what then remains.
var refusals = [][]string{
	{"O_TMPFILE"}, {"linkat"}, {"O_TMPFILE", "renameat2"}, {"fchmod"}, {"fallocate"}, {"memfd_create"}, {"memfd_create", "O_TMPFILE"},
	{"F_ADD_SEALS"}, {"fstatfs"}, {"fsync"}, {"ioctl"},
	{"linkat", "fchmod", "fallocate", "memfd_create", "F_ADD_SEALS", "fstatfs", "fsync", "ioctl", "madvise", "pidfd_open", "futex_waitv"},
}

// Each optional call has a second way, whatever the error is.
func TestCreateWithRefusedCalls(t *testing.T) {
	shared := shmtest.Must(os.MkdirTemp("/dev/shm", "systest"))(t)
	defer os.RemoveAll(shared)
	for _, dir := range []string{t.TempDir(), shared} {
		for _, errno := range []unix.Errno{unix.EPERM, unix.ENOSYS, unix.EACCES, unix.EXDEV, unix.EOPNOTSUPP, unix.EINVAL} {
			for _, calls := range refusals {
				path := filepath.Join(dir, "segment")
				p := shmtest.Start(t, createAll, append([]string{path, fmt.Sprint(int(errno))}, calls...)...)
				if err := p.End(); err != nil {
					t.Fatalf("%v of %v in %s: %v", errno, calls, dir, err)
				}
				f := shmtest.Must(os.Open(path))(t)
				complete(t, f)
				if entries := shmtest.Must(os.ReadDir(dir))(t); len(entries) != 1 {
					t.Fatalf("%v of %v leaves %v", errno, calls, entries)
				}
				if mode := shmtest.Must(f.Stat())(t).Mode(); mode != 0o600 {
					t.Fatalf("%v of %v: mode %v", errno, calls, mode)
				}
				check(t, errors.Join(f.Close(), os.Remove(path)))
			}
		}
	}
}

// A filter that ends the process does no harm to one that is told to avoid the
// calls.
func TestAvoidedCallsAreNotMade(t *testing.T) {
	var optional []string
	for _, c := range sys.Calls() {
		if !c.Needed {
			optional = append(optional, c.Name)
		}
	}
	optional = without(optional, "linkat") // or else renameat2: one of them gives a file its name
	path := filepath.Join(t.TempDir(), "segment")
	p := shmtest.StartCmd(t, createAll, func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Environ(), sys.AvoidVariable+"="+strings.Join(optional, ","))
	}, append([]string{path, fmt.Sprint(uint32(shmtest.KillProcess))}, optional...)...)
	p.Wait()
}

func without(all []string, one string) (rest []string) {
	for _, x := range all {
		if x != one {
			rest = append(rest, x)
		}
	}
	return rest
}

// If nothing is left that names a complete file in one step, the error says what to
// do, and nothing stays.
func TestCreateWhereNothingCanBeNamed(t *testing.T) {
	dir := t.TempDir()
	p := shmtest.Start(t, createAll, filepath.Join(dir, "segment"), fmt.Sprint(int(unix.EPERM)), "O_TMPFILE", "linkat", "renameat2")
	err := p.End()
	if err == nil {
		t.Fatal("it has a name")
	}
	if entries := shmtest.Must(os.ReadDir(dir))(t); len(entries) != 0 {
		t.Fatalf("it leaves %v", entries)
	}
}

// What a killed creator leaves beside a name is removed by the next one, and what a
// living one uses is not.
func TestAbandonedTemporaryNames(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "segment")
	f, temp, err := sys.OpenBeside(path, path)
	check(t, err)
	for range 2 {
		other := shmtest.Must(sys.CreateBeside(path, 0o600, header, created))(t)
		complete(t, other)
		if _, err := os.Stat(temp); err != nil {
			t.Fatalf("the name of a living creator: %v", err)
		}
		check(t, errors.Join(other.Close(), os.Remove(path)))
	}
	check(t, f.Close()) // as when it dies
	other := shmtest.Must(sys.CreateBeside(path, 0o600, header, created))(t)
	defer other.Close()
	if entries := shmtest.Must(os.ReadDir(dir))(t); len(entries) != 1 {
		t.Fatalf("%v are there", entries)
	}
	// It dies between the link and the removal of its temporary name.
	check(t, os.Link(path, temp))
	check(t, sys.CheckNamed(other, path, 0o600, false))
	if entries := shmtest.Must(os.ReadDir(dir))(t); len(entries) != 1 {
		t.Fatalf("%v are there", entries)
	}
}

// Temporary names are none that the filesystem refuses, whatever the name of the file is.
func TestBesideNames(t *testing.T) {
	for _, base := range []string{
		strings.Repeat("n", 255), strings.Repeat("é", 127), "n" + strings.Repeat("é", 127), strings.Repeat("😀", 63),
		"a\xff", strings.Repeat("\xff", 255), "a.(b)[c",
	} {
		path := filepath.Join(t.TempDir(), base)
		f, temp, err := sys.OpenBeside(path, path)
		if err != nil {
			t.Errorf("%.20q: %v", base, err)
			continue
		}
		check(t, f.Close()) // as when it dies
		if other, err := sys.CreateBeside(path, 0o600, header, created); err != nil {
			t.Errorf("%.20q: %v", base, err)
		} else {
			check(t, other.Close())
		}
		if _, err := os.Stat(temp); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%.20q: %v is still there: %v", base, temp, err)
		}
	}
}

func TestCreateBesideTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "segment")
	var all sync.WaitGroup
	files := make(chan *os.File, 100)
	for range 8 {
		all.Go(func() {
			f, err := sys.CreateBeside(path, 0o600, header, created)
			if err == nil {
				files <- f
			} else if !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	close(files)
	if len(files) != 1 {
		t.Fatalf("%d created it", len(files))
	}
	complete(t, <-files)
	if entries := shmtest.Must(os.ReadDir(filepath.Dir(path)))(t); len(entries) != 1 {
		t.Fatalf("%v are there", entries)
	}
}
