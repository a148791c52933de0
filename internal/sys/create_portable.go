//go:build (linux && shmportable) || darwin || freebsd

package sys

import (
	"errors"
	"io/fs"
	"os"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/unix"
)

// The portable backend needs no more than POSIX has, and what all Unix systems of today
// have beside it. The tag shmportable chooses it on Linux, to be tested there.

// createUnnamed is refused: not all systems have files without a name.
func createUnnamed(path string, _ fs.FileMode, _ []byte, _ int64) (*os.File, error) {
	return nil, errs.Path("create", path, unix.ENOSYS)
}

// lockCreation takes the lock that the creator of a file with a temporary name has. It
// returns false if another process has it.
func lockCreation(f *os.File) (bool, error) {
	// The file is under no other lock, and this one belongs to the description.
	err := withDescriptor(f, func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if err == unix.EWOULDBLOCK {
		return false, nil
	}
	return err == nil, err
}

func unlockCreation(f *os.File) {
	_ = withDescriptor(f, func(fd int) error { return unix.Flock(fd, unix.LOCK_UN) })
}

// renameExclusive is refused: rename(2) replaces what has the name. A link does not.
func renameExclusive(string, string) error { return unix.ENOSYS }

// CreateAnonymous creates a file without a name, with the contents that CreateNamed gives
// one. It has a temporary name for a moment, in the directory of named segments. A process
// that has the descriptor can shrink the file. It may block as Reserve may. The error is
// an *fs.PathError.
func CreateAnonymous(header []byte, size int64) (*os.File, error) {
	removeAbandoned(sharedDir + "anonymous")
	f, temp, err := openBeside(sharedDir+"anonymous", AnonymousPath)
	if err != nil {
		return nil, err
	}
	err = Remove(temp)
	if err == nil {
		unlockCreation(f)
		err = suits(f, AnonymousPath)
	}
	if err == nil {
		err = layDown(f, AnonymousPath, header, size)
	}
	if err != nil {
		return nil, CloseAfter(f, err)
	}
	return f, nil
}

// suits returns an error, which wraps errors.ErrUnsupported, if the filesystem of a new
// file can hold no segment.
func suits(f *os.File, path string) error {
	err := withDescriptor(f, func(fd int) error {
		b, err := unix.Mmap(fd, 0, int(PageSize), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err == nil {
			err = unix.Munmap(b)
		}
		return err
	})
	if err == unix.ENODEV || err == unix.EINVAL {
		return errs.Path("create", path, errors.Join(errors.ErrUnsupported, err))
	}
	return nil // what else there may be, the mapping itself will tell
}

// keepInPlace does nothing: there is no portable way.
func keepInPlace(*os.File) {}

// InMemory returns false: there is no portable way to know. A file in memory is treated
// as one on a disk.
func InMemory(*os.File) bool { return false }

// reserve allocates the bytes from off to end. After an error only those from at on are
// certain not to be allocated.
func reserve(f *os.File, off, end int64) (at int64, err error) {
	const step = 16 << 20
	for at = off; at < end; at += step {
		n := min(step, end-at)
		if err := fill(f, at, n); err != nil {
			return at + n, err
		}
	}
	return end, nil
}

// Release makes n bytes from off on zeros. The file keeps their space: there is no portable
// way to give back space inside a file.
func Release(f *os.File, off, n int64) {
	info, err := f.Stat()
	if err != nil {
		return
	}
	zeros := make([]byte, min(max(n, 0), 1<<20))
	for end := min(off+n, info.Size()); off < end; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), end-off)], off); err != nil {
			return
		}
	}
}

// OmitFromDumps does nothing.
func OmitFromDumps([]byte, bool) {}

// freshLinks returns how many hard links a file has.
func freshLinks(f *os.File, known int) int {
	var st unix.Stat_t
	if withDescriptor(f, func(fd int) error { return unix.Fstat(fd, &st) }) != nil {
		return known
	}
	return int(st.Nlink)
}

// namespaceIDs says that all ids are what they seem.
func namespaceIDs() (ids struct{ users, groups idMap }) {
	ids.users.complete, ids.groups.complete = true, true
	return ids
}
