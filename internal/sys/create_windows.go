package sys

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"
	"unsafe"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/windows"
)

// A segment is built under a temporary name in the same directory. Its creator holds the
// lock of creationByte until the segment has its real name. A temporary name whose file
// nobody has locked was left by a creator that died, and the next one removes it, as it
// does with a file that was removed while it was mapped. It holds that lock meanwhile: a
// creator that does not get it has lost its new file, and begins again.
const (
	creationByte = 1 << 61 // no other lock of a segment uses it
	newSuffix    = ".new-segment"
	oldSuffix    = ".old-segment"
)

// besideName returns a new name beside path, with a suffix that says what it is for.
func besideName(path, suffix string) string {
	dir, base := filepath.Split(path)
	return fmt.Sprintf("%s%s%08x%s", dir, besidePrefix(base), rand.Uint32(), suffix) // #nosec G404 -- CREATE_NEW refuses a name that somebody has guessed
}

// besidePrefix returns what the names beside a file begin with. They have the first 200
// units of its name, so that none of them is too long: a name has at most 255.
func besidePrefix(base string) string {
	units := utf16.Encode([]rune(base))
	if len(units) > 200 {
		units = units[:200]
		if utf16.IsSurrogate(rune(units[199])) && units[199] < 0xdc00 { // the first half of a character
			units = units[:199]
		}
	}
	return "." + string(utf16.Decode(units)) + "."
}

// removeAbandoned removes what creators that died, and Remove, have left beside path.
func removeAbandoned(path string) {
	dir, base := filepath.Split(path)
	prefix := strings.ToLower(besidePrefix(base))       // two cases of one name are one name
	entries, _ := os.ReadDir(filepath.Clean(dir + ".")) // A directory that cannot be read has none that could be told.
	for _, e := range entries {
		lower := strings.ToLower(e.Name())
		isNew := isBeside(lower, prefix, newSuffix)
		if !isNew && !isBeside(lower, prefix, oldSuffix) {
			continue
		}
		name := dir + e.Name()
		if isNew {
			f, err := OpenExisting(name, false)
			if err != nil {
				continue
			}
			if got, _ := TryLock(f, creationByte); got {
				_ = os.Remove(name)
			}
			_ = f.Close() // Nothing was written.
			continue
		}
		_ = os.Remove(name) // It stays while it is mapped.
	}
}

// openTemporary creates an empty file beside path and takes the lock of creationByte.
func openTemporary(path string, mode fs.FileMode) (f *os.File, temp string, err error) {
	const tries = 100 // against those who remove it again and again
	for range tries {
		temp = besideName(path, newSuffix)
		f, err = openNew(temp, path, mode, windows.FILE_ATTRIBUTE_NORMAL|windows.FILE_ATTRIBUTE_NOT_CONTENT_INDEXED)
		if err != nil {
			return nil, "", err
		}
		got, err := TryLock(f, creationByte)
		if got {
			return f, temp, nil
		}
		if err := CloseAfter(f, err); err != nil {
			return nil, "", errors.Join(err, os.Remove(temp))
		}
	}
	return nil, "", errs.Path("create", path, fmt.Errorf("its temporary file was removed %d times", tries))
}

// CreateNamed creates a file at path with size reserved bytes, of which the first
// are header and the others zeros. It builds the file under a temporary name, and gives
// it its name in one step, so nobody ever sees a part of one. The file is on disk before
// the name is. Who may open it is what mode says, whatever the directory grants. It may
// block as Reserve may, and until the disk has written.
//
// The error is an *fs.PathError, and then nothing is changed. It wraps fs.ErrExist
// if the path exists, and errors.ErrUnsupported if the filesystem can hold no
// segment.
func CreateNamed(path string, mode fs.FileMode, header []byte, size int64) (*os.File, error) {
	if inSharedDir(path) {
		if err := os.MkdirAll(sharedDir, 0o700); err != nil {
			return nil, errs.Path("create", path, err)
		}
	}
	if err := suits(path); err != nil {
		return nil, err
	}
	removeAbandoned(path)
	f, temp, err := openTemporary(path, mode)
	if err != nil {
		return nil, err
	}
	err = func() error {
		if err := layDown(f, path, header, size); err != nil {
			return err
		}
		if err := withHandle(f, windows.FlushFileBuffers); err != nil {
			return errs.Path("sync", path, explained(err))
		}
		if err := patiently(func() error { return move(temp, path) }); err != nil {
			return errs.Path("create", path, err)
		}
		return nil
	}()
	if err != nil {
		err = CloseAfter(f, err)
		if failed := os.Remove(temp); failed != nil && !errors.Is(failed, fs.ErrNotExist) {
			err = errors.Join(err, failed)
		}
		return nil, err
	}
	// Whoever asks the system for the name of this file object is told the temporary one.
	if again, err := OpenExisting(path, false); err == nil {
		have, _, err1 := Identify(again, path)
		want, _, err2 := Identify(f, path)
		if err1 == nil && err2 == nil && have == want {
			return again, f.Close()
		}
		_ = again.Close() // Another process has removed the segment and made a new one.
	}
	Unlock(f, creationByte)
	return f, nil
}

// CreateAnonymous creates a file with the contents that CreateNamed gives one, which
// Windows removes when it is closed everywhere. Nobody is told its name. It may block as
// Reserve may. The error is an *fs.PathError.
func CreateAnonymous(header []byte, size int64) (*os.File, error) {
	if err := os.MkdirAll(sharedDir, 0o700); err != nil {
		return nil, errs.Path("create", AnonymousPath, err)
	}
	f, err := openNew(besideName(sharedDir+"anonymous", newSuffix), AnonymousPath, 0o600, windows.FILE_ATTRIBUTE_TEMPORARY|windows.FILE_FLAG_DELETE_ON_CLOSE)
	if err != nil {
		return nil, err
	}
	if err := layDown(f, AnonymousPath, header, size); err != nil {
		return nil, CloseAfter(f, err)
	}
	return f, nil
}

// openNew creates an empty sparse file. Messages call it label.
func openNew(path, label string, mode fs.FileMode, flags uint32) (*os.File, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, errs.Path("create", label, fs.ErrInvalid)
	}
	descriptor, err := descriptorFor(mode)
	if err != nil {
		return nil, errs.Path("create", label, err)
	}
	security := windows.SecurityAttributes{SecurityDescriptor: descriptor}
	// SAFETY: the size of a struct.
	security.Length = uint32(unsafe.Sizeof(security))
	// Whoever may delete a file keeps programs out that do not share that, as Go's do.
	access := uint32(windows.GENERIC_READ | windows.GENERIC_WRITE)
	if flags&windows.FILE_FLAG_DELETE_ON_CLOSE != 0 {
		access |= windows.DELETE
	}
	var h windows.Handle
	err = patiently(func() (err error) {
		h, err = windows.CreateFile(name, access, shareAll, &security, windows.CREATE_NEW, flags, 0)
		return err
	})
	if err != nil {
		return nil, errs.Path("create", label, err)
	}
	f := os.NewFile(uintptr(h), label)
	// A mapping of a file that is not sparse takes disk for all of its bytes.
	err = withHandle(f, func(h windows.Handle) error {
		var n uint32
		return windows.DeviceIoControl(h, windows.FSCTL_SET_SPARSE, nil, 0, nil, 0, &n, nil)
	})
	if err != nil {
		err = errs.Path("create", label, fmt.Errorf("%w: this filesystem has no sparse files, so a segment would take all the space that it may grow to; use a name that is no path, which is a file in %s, or a path on a drive with NTFS (%w)", errors.ErrUnsupported, sharedDir, err))
		err = CloseAfter(f, err)
		if flags&windows.FILE_FLAG_DELETE_ON_CLOSE == 0 {
			_ = os.Remove(path)
		}
		return nil, err
	}
	return f, nil
}

// suits returns an error, which wraps errors.ErrUnsupported, if a path is on another
// computer. Mappings of such a file are not the same memory on two computers, and
// locks are only as good as the server.
func suits(path string) error {
	full, err := filepath.Abs(path)
	if err != nil {
		return errs.Path("create", path, err)
	}
	volume := filepath.VolumeName(full)
	remote := strings.HasPrefix(volume, `\\`) && !strings.HasPrefix(volume, `\\?\`) && !strings.HasPrefix(volume, `\\.\`)
	if !remote {
		root, err := windows.UTF16PtrFromString(volume + `\`)
		remote = err == nil && windows.GetDriveType(root) == windows.DRIVE_REMOTE
	}
	if remote {
		return errs.Path("create", path, fmt.Errorf("%w: a network drive can hold no segment, since processes share memory on one computer only; use a name that is no path, which is a file in %s, or a path on a local drive", errors.ErrUnsupported, sharedDir))
	}
	return nil
}

// layDown gives an empty file its space and its header.
func layDown(f *os.File, path string, header []byte, size int64) error {
	if err := Reserve(f, path, 0, size); err != nil {
		return err
	}
	if _, err := f.WriteAt(header, 0); err != nil {
		return errs.Path("write", path, explained(errors.Unwrap(err)))
	}
	return nil
}

// Reserve allocates the bytes from off to end on the filesystem, so that touching
// them later cannot fail for lack of space, and makes the file at least end bytes
// long. New bytes are zeros. After an error it gives back what it got, if the
// filesystem can do that, so nobody may use these bytes yet. It may block for as
// long as the filesystem needs. The error is an *fs.PathError, of
// syscall.ENOSPC for a full filesystem.
func Reserve(f *os.File, path string, off, end int64) error {
	// A sparse file has space only where something was written, zeros too.
	zeros := make([]byte, min(end-off, 1<<20))
	for at := off; at < end; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), end-at)], at); err != nil {
			Release(f, off, at+int64(len(zeros))-off)
			if errors.Is(err, fs.ErrClosed) {
				return errs.Path("allocate", path, fs.ErrClosed)
			}
			return errs.Path("allocate", path, explained(errors.Unwrap(err)))
		}
	}
	return nil
}

// Release gives back the space of n bytes from off on, whose contents are lost; the
// length of the file stays. A filesystem that cannot do this keeps the space. It
// never blocks for long.
func Release(f *os.File, off, n int64) {
	_ = withHandle(f, func(h windows.Handle) error {
		zeros := struct{ from, beyond int64 }{off, off + n} // FILE_ZERO_DATA_INFORMATION
		var got uint32
		// SAFETY: the system reads the struct before the call returns.
		return windows.DeviceIoControl(h, windows.FSCTL_SET_ZERO_DATA, (*byte)(unsafe.Pointer(&zeros)), uint32(unsafe.Sizeof(zeros)), nil, 0, &got, nil)
	})
}

// InMemory returns false: Windows has no filesystem in memory of its own.
func InMemory(*os.File) bool { return false }

// OmitFromDumps does nothing: dumps of Windows have no mapped files, unless whoever makes
// them asks for that.
func OmitFromDumps([]byte, bool) {}
