package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// shmDir is where Linux keeps POSIX shared-memory objects.
const shmDir = "/dev/shm/"

func outOfMemory(err error) bool { return errors.Is(err, syscall.ENOMEM) }

// retry calls f until no signal interrupts it, and no closed segment keeps a
// descriptor that f lacks.
func retry(f func() error) error {
	for {
		err := f()
		if err != unix.EINTR && !(outOfDescriptors(err) && reclaim()) {
			return err
		}
	}
}

func outOfDescriptors(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE)
}

// withDescriptor calls do with f's descriptor until no signal interrupts it.
// The descriptor stays open until then even if f is closed meanwhile: else its
// number might already be another file's.
func withDescriptor(f *os.File, do func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if conn.Control(func(fd uintptr) { err = retry(func() error { return do(int(fd)) }) }) != nil {
		return fs.ErrClosed // all that keeps Control from its call
	}
	return err
}

// closeAfter closes f for err, to which it adds what goes wrong then.
func closeAfter(f *os.File, err error) error {
	if failed := f.Close(); failed != nil {
		return errors.Join(err, failed)
	}
	return err // itself, a *fs.PathError: errors.Join would wrap it
}

// openExisting opens a name for attaching. It follows no symbolic link and
// waits for no FIFO's other end.
func openExisting(path string, readOnly bool) (*os.File, error) {
	flags := unix.O_RDWR
	if readOnly {
		flags = unix.O_RDONLY
	}
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Open(path, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err
	})
	switch err {
	case nil:
		return os.NewFile(uintptr(fd), path), nil
	case unix.ELOOP:
		return nil, pathError("open", path, fmt.Errorf("%w: a symbolic link", ErrInsecure))
	case unix.EISDIR, unix.ENXIO, unix.ENODEV:
		return nil, pathError("open", path, fmt.Errorf("%w: not a regular file (%w)", ErrInsecure, err))
	}
	return nil, pathError("open", path, err)
}

// identify returns the file's identity and size, refusing what is not a
// regular file.
func identify(f *os.File, path string) (st unix.Stat_t, err error) {
	if err := withDescriptor(f, func(fd int) error { return unix.Fstat(fd, &st) }); err != nil {
		return st, pathError("stat", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return st, pathError("open", path, fmt.Errorf("%w: not a regular file", ErrInsecure))
	}
	return st, nil
}

// identity returns what a regular file is known by in this process, and its
// size in bytes.
func identity(f *os.File, path string) (inodeKey, int64, error) {
	st, err := identify(f, path)
	return keyOf(&st), st.Size, err
}

func fileSize(f *os.File, path string) (int64, error) {
	st, err := identify(f, path)
	return st.Size, err
}

// checkNamed refuses a named file that cannot be trusted. A name that was
// removed meanwhile is one that does not exist.
func checkNamed(f *os.File, path string, mode fs.FileMode) error {
	st, err := identify(f, path)
	if err != nil {
		return err
	}
	if st.Nlink == 0 {
		return pathError("open", path, unix.ENOENT)
	}
	if err := trusted(&st, mode); err != nil {
		return pathError("open", path, err)
	}
	return nil
}

func keyOf(st *unix.Stat_t) inodeKey { return inodeKey{uint64(st.Dev), st.Ino} }

// trusted says why a named file must not be attached: somebody else may have
// laid it there, or may write to it beyond what mode grants.
func trusted(st *unix.Stat_t, mode fs.FileMode) error {
	if st.Nlink > 1 {
		return fmt.Errorf("%w: it has %d names", ErrInsecure, st.Nlink)
	}
	if uid := uint32(os.Geteuid()); st.Uid != uid && st.Uid != 0 && mode&0o077 == 0 {
		return fmt.Errorf("%w: user %d owns it, this is user %d, and Options.Mode does not ask for others", ErrInsecure, st.Uid, uid)
	}
	if extra := fs.FileMode(st.Mode) & 0o222 &^ mode; extra != 0 {
		return fmt.Errorf("%w: its mode %#o lets more write than Options.Mode %#o", ErrInsecure, st.Mode&0o777, mode)
	}
	return nil
}

// createNamed builds a segment under no name and links it into place, so that
// nobody ever sees a part of one. The error is fs.ErrExist where somebody else
// was first.
func createNamed(path string, mode fs.FileMode, header []byte) (*os.File, error) {
	dir := filepath.Dir(path)
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		return err
	})
	temp := ""
	if err == unix.EOPNOTSUPP || err == unix.EISDIR || err == unix.EINVAL {
		// A filesystem without O_TMPFILE: a temporary name beside the real one.
		temp = filepath.Join(dir, fmt.Sprintf(".%.200s.%08x", filepath.Base(path), rand.Uint32()))
		err = retry(func() (err error) {
			fd, err = unix.Open(temp, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
			return err
		})
	}
	if err != nil {
		return nil, pathError("create", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	if err = buildSegment(f, path, mode, header); err == nil {
		err = publishName(fd, temp, path)
	}
	if err != nil {
		if temp != "" {
			if failed := unlink(temp); failed != nil {
				err = errors.Join(err, pathError("remove", temp, failed))
			}
		}
		return nil, closeAfter(f, err)
	}
	return f, nil
}

func publishName(fd int, temp, path string) error {
	err := retry(func() error {
		if temp != "" {
			return unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
		}
		return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	})
	if err == unix.ENOENT && temp == "" {
		// Without /proc the kernel links the descriptor itself for those whom it
		// lets (CAP_DAC_READ_SEARCH; since 6.10 whoever opened it).
		err = retry(func() error { return unix.Linkat(fd, "", unix.AT_FDCWD, path, unix.AT_EMPTY_PATH) })
	}
	if err != nil {
		return pathError("create", path, err)
	}
	return nil
}

// buildSegment gives an empty file its mode, its space and its header.
func buildSegment(f *os.File, path string, mode fs.FileMode, header []byte) error {
	// The process's umask does not apply: Mode says who may attach.
	if err := withDescriptor(f, func(fd int) error { return unix.Fchmod(fd, uint32(mode)) }); err != nil {
		return pathError("chmod", path, err)
	}
	return layDown(f, path, header)
}

func layDown(f *os.File, path string, header []byte) error {
	if err := reserve(f, path, 0, firstAllocation); err != nil {
		return err
	}
	if _, err := f.WriteAt(header, 0); err != nil {
		return pathError("write", path, errors.Unwrap(err))
	}
	return nil
}

// createAnonymous makes a segment without a name, sealed against shrinking.
func createAnonymous(header []byte) (*os.File, error) {
	const label = "shm"
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.MemfdCreate(label, flags|unix.MFD_NOEXEC_SEAL)
		if err == unix.EINVAL { // before Linux 6.3
			fd, err = unix.MemfdCreate(label, flags)
		}
		return err
	})
	if err != nil {
		return nil, pathError("memfd_create", anonymousPath, err)
	}
	f := os.NewFile(uintptr(fd), anonymousPath)
	if err = layDown(f, anonymousPath, header); err == nil {
		if _, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL); err != nil {
			err = pathError("seal", anonymousPath, err)
		}
	}
	if err != nil {
		return nil, closeAfter(f, err)
	}
	return f, nil
}

// reserve allocates the bytes from off to end on the filesystem, so that
// touching them later cannot fault for lack of space. An error gives back what
// it got: nobody uses these bytes yet.
func reserve(f *os.File, path string, off, end int64) error {
	// In steps: a signal undoes a whole call, and Go sends many.
	const step = 16 << 20
	for at := off; at < end; at += step {
		n := min(step, end-at)
		err := withDescriptor(f, func(fd int) error { return unix.Fallocate(fd, 0, at, n) })
		if err == unix.EOPNOTSUPP || err == unix.ENOSYS {
			err = fill(f, at, n)
		}
		if err != nil {
			// A filesystem that cannot do this keeps the space for the next value.
			_ = withDescriptor(f, func(fd int) error {
				return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, at+n-off)
			})
			return pathError("allocate", path, err)
		}
	}
	return nil
}

// fill reserves space where fallocate is missing, by writing zeros behind the
// end of the file. What lies before the end is there already.
func fill(f *os.File, off, n int64) error {
	info, err := f.Stat()
	if err != nil {
		return errors.Unwrap(err)
	}
	zeros := make([]byte, min(n, 1<<20))
	for at := max(off, info.Size()); at < off+n; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), off+n-at)], at); err != nil {
			return errors.Unwrap(err)
		}
	}
	return nil
}

// reopen opens f's file anew: a description of our own, which no child shares.
func reopen(f *os.File, path string) (*os.File, error) {
	var fd int
	err := withDescriptor(f, func(old int) (err error) {
		fd, err = unix.Open(fmt.Sprintf("/proc/self/fd/%d", old), unix.O_RDWR|unix.O_CLOEXEC, 0)
		return err
	})
	if err == nil {
		return os.NewFile(uintptr(fd), path), nil
	}
	first := pathError("reopen", path, err)
	if !strings.Contains(path, "/") || path == anonymousPath {
		return nil, first
	}
	// No /proc, or it refuses: by name, if that still leads to the same file.
	again, err := openExisting(path, false)
	if err != nil {
		return nil, fmt.Errorf("%w; %w", first, err)
	}
	have, err1 := identify(again, path)
	want, err2 := identify(f, path)
	if err1 != nil || err2 != nil || keyOf(&have) != keyOf(&want) {
		return nil, closeAfter(again, fmt.Errorf("%w; its name leads elsewhere", first))
	}
	return again, nil
}

// duplicate returns a descriptor of the same open file that no child inherits.
func duplicate(f *os.File, readOnly bool) (*os.File, error) {
	var fd int
	err := withDescriptor(f, func(old int) (err error) {
		fd, err = duplicateFD(old, readOnly)
		return err
	})
	if err != nil {
		return nil, pathError("dup", f.Name(), err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// duplicateFD duplicates a descriptor that permits what is asked for. That is
// not left to mmap: this process may have the file mapped already.
func duplicateFD(old int, readOnly bool) (fd int, err error) {
	flags, err := unix.FcntlInt(uintptr(old), unix.F_GETFL, 0)
	if err == nil && !readOnly && flags&unix.O_ACCMODE == unix.O_RDONLY {
		err = unix.EACCES
	}
	if err != nil {
		return 0, err
	}
	return unix.FcntlInt(uintptr(old), unix.F_DUPFD_CLOEXEC, 3)
}

func unlink(path string) error {
	return retry(func() error { return unix.Unlink(path) })
}

// adopt returns a duplicate of a descriptor that a parent passed, if it is that
// file, and keeps the original, which from now on no child inherits.
func adopt(fd int, key inodeKey, path string, readOnly bool) (*os.File, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil || keyOf(&st) != key || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("%w: descriptor %d is not the segment that was passed", fs.ErrNotExist, fd)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return nil, err
	}
	var own int
	err := retry(func() (err error) {
		own, err = duplicateFD(fd, readOnly)
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(own), path), nil
}
