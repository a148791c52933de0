//go:build linux || darwin || freebsd

package sys

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/unix"
)

// Where a filesystem has no files without a name, or lets nobody name them, a
// segment is built under a temporary name in the same directory. Its creator holds
// a lock of the file (lockCreation) until the segment has its real name and has lost the
// temporary one. A temporary name whose file nobody has locked was left by a creator
// that died, and the next one removes it.

// besideName returns a new temporary name for the file that is to become path.
func besideName(path string) string {
	dir, base := filepath.Split(path)
	return fmt.Sprintf("%s%s%08x%s", dir, besidePrefix(base), rand.Uint32(), newSuffix) // #nosec G404 -- O_EXCL refuses a name that somebody has guessed
}

const newSuffix = ".new-segment"

// besidePrefix returns what the temporary names of a file begin with. They have the first
// 200 bytes of its name, as in C, so that none of them is too long.
func besidePrefix(base string) string {
	base = base[:min(len(base), 200)]
	if runtime.GOOS == "darwin" { // whose filesystems refuse a part of a character
		base = strings.ToValidUTF8(base, "")
	}
	return "." + base + "."
}

// besides returns the temporary names of path that exist.
func besides(path string) (names []string) {
	dir, base := filepath.Split(path)
	prefix := besidePrefix(base)
	// A directory that cannot be read has none that could be told.
	entries, _ := os.ReadDir(filepath.Clean(dir + "."))
	for _, e := range entries {
		if isTemporary(e.Name(), prefix, newSuffix) {
			names = append(names, dir+e.Name())
		}
	}
	return names
}

// openBeside opens a new file under a temporary name beside path, and locks it
// by lockCreation. Messages call it label.
func openBeside(path, label string) (f *os.File, temp string, err error) {
	const tries = 100
	for range tries {
		temp = besideName(path)
		var fd int
		err = retry(func() (err error) {
			fd, err = beyondStandard(unix.Open(temp, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600))
			return err
		})
		if err == unix.EEXIST {
			continue
		}
		if err != nil {
			return nil, "", errs.Path("create", label, err)
		}
		f = os.NewFile(uintptr(fd), label)
		got, failed := lockCreation(f)
		if failed != nil || got && leadsTo(temp, f) {
			// Where files have no locks, nobody takes a name for abandoned.
			return f, temp, nil
		}
		// Another creator has taken it for abandoned, before it was locked.
		if err := f.Close(); err != nil {
			return nil, "", errs.Path("create", label, err)
		}
	}
	return nil, "", errs.Path("create", label, fmt.Errorf("%d temporary names were taken: %w", tries, fs.ErrExist))
}

// leadsTo reports whether name is a name of f.
func leadsTo(name string, f *os.File) bool {
	var named, own unix.Stat_t
	return retry(func() error { return unix.Lstat(name, &named) }) == nil &&
		withDescriptor(f, func(fd int) error { return unix.Fstat(fd, &own) }) == nil &&
		keyOf(&named) == keyOf(&own)
}

// removeAbandoned removes temporary names that dead creators of path have left. It
// never waits, and leaves out what it may not remove.
func removeAbandoned(path string) {
	for _, temp := range besides(path) {
		f, err := OpenExisting(temp, false)
		if err != nil {
			continue
		}
		if _, err := stat(f, temp); err == nil {
			if got, err := lockCreation(f); err == nil && got && leadsTo(temp, f) {
				_ = Remove(temp) // the next creator tries again
			}
		}
		_ = f.Close() // nothing was written
	}
}

// rename gives the file under a temporary name its real name, and fails if that
// exists. The temporary name is gone then. It reports whether the file had both
// names for a moment.
func rename(temp, path string) (linked bool, err error) {
	err = retry(func() error {
		return renameExclusive(temp, path)
	})
	if !refused(err) {
		if err != nil {
			return false, errs.Path("create", path, err)
		}
		return false, nil
	}
	again := retry(func() error {
		return attempt(callLinkat, func() error { return unix.Linkat(unix.AT_FDCWD, temp, unix.AT_FDCWD, path, 0) })
	})
	if refused(again) {
		return false, errs.Path("create", path, fmt.Errorf("%w: no segment can be made on this filesystem, since it lacks what gives a complete file its name in one step: files without a name, renaming that replaces nothing (%w) and hard links (%w); use a name without a slash, which is a file in %s, or a path on another filesystem", errors.ErrUnsupported, err, again, sharedDir))
	}
	if again != nil {
		return false, errs.Path("create", path, again)
	}
	// If this process dies here, the file has two names. Whoever opens it takes the
	// temporary one away: see finishLink.
	_ = Remove(temp)
	return true, nil
}

// finishLink removes temporary names of path that a creator has yet to remove: it may
// be dead, and does not need them any more, since the file has its real name. It
// returns how many of the file's hard links are such names and cannot be removed by
// this process.
func finishLink(path string, f *os.File) (stay int) {
	for _, temp := range besides(path) {
		if leadsTo(temp, f) && Remove(temp) != nil && leadsTo(temp, f) {
			stay++
		}
	}
	return stay
}
