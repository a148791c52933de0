//go:build linux && !shmportable

package sys

import (
	"errors"
	"fmt"
	"os"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/unix"
)

// InMemory reports whether the filesystem of f is memory, which nothing
// outlives: tmpfs, as /dev/shm and memfds are, ramfs or hugetlbfs. A file there is
// gone after a reboot, and has no disk to be written to. If the system does not
// say, the answer is false. It never blocks on a filesystem in memory; on others it
// may block as stat does.
func InMemory(f *os.File) bool {
	switch filesystem(f) {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC, unix.HUGETLBFS_MAGIC:
		return true
	}
	return false
}

// filesystem returns the magic number of the kind of f's filesystem, as statfs(2)
// has it, or 0 if the system does not say.
func filesystem(f *os.File) uint32 {
	var st unix.Statfs_t
	err := withDescriptor(f, func(fd int) error {
		return attempt(callFstatfs, func() error { return unix.Fstatfs(fd, &st) })
	})
	if err != nil {
		return 0
	}
	// The field's type differs between processors. All magic numbers have 32 bits.
	return uint32(st.Type)
}

// suits returns an error, which wraps errors.ErrUnsupported, if the filesystem of a
// new file can hold no segment.
func suits(f *os.File, path string) error {
	unfit := func(why string, err error) error {
		return errs.Path("create", path, fmt.Errorf("%w: this filesystem can hold no segment, since %s (%w); use a name without a slash, which is a file in %s, or a path on another filesystem", errors.ErrUnsupported, why, err, sharedDir))
	}
	if filesystem(f) == unix.HUGETLBFS_MAGIC {
		return unfit("it is hugetlbfs, whose files are made of huge pages and cannot be written to", unix.EINVAL)
	}
	if InMemory(f) {
		return nil
	}
	// Some filesystems that are programs (FUSE), and 9p without a cache, have files that
	// can be read and written but not mapped.
	err := withDescriptor(f, func(fd int) error {
		b, err := unix.Mmap(fd, 0, int(PageSize), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err == nil {
			err = unix.Munmap(b)
		}
		return err
	})
	if err == unix.ENODEV || err == unix.EINVAL {
		return unfit("it does not let processes share the memory of its files", err)
	}
	return nil // what else there may be, the mapping itself will tell
}

// keepInPlace switches copy-on-write off for a new file that has no bytes yet, where
// the filesystem can do that. Otherwise a page of reserved space needs new space
// when it is written to disk, and there may be none: a store is a fault then.
func keepInPlace(f *os.File) {
	const noCopy = 0x00800000 // FS_NOCOW_FL
	switch filesystem(f) {
	case unix.BTRFS_SUPER_MAGIC, unix.OVERLAYFS_SUPER_MAGIC: // the latter may be on top of btrfs
	default:
		return
	}
	// It is an improvement where it can be had. docs say where it cannot.
	_ = withDescriptor(f, func(fd int) error {
		return attempt(callNoCopy, func() error {
			flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
			if err != nil || flags&noCopy != 0 {
				return err
			}
			return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(flags|noCopy))
		})
	})
}
