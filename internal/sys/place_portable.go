//go:build (linux && shmportable) || darwin || freebsd

package sys

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"sync"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/unix"
)

// A POSIX lock is dropped by any close of its file anywhere in the process, and does not
// exclude other parts of the process. So the locks of segments are not on their own files,
// which programs open and close as they like, but in a lease file, which only this package
// opens: once in each process, and never closes. All segments of one user that have one
// mode and one group share a lease file. Each segment has bytes of its own in it, by a hash
// of its device and inode.
//
// The name of a lease file may be removed, and another file may come in its place. Then
// the locks in the one say nothing of those in the other. So a lease file has a number,
// and the header of a segment has the number of its lease file.

const (
	leaseMagic  = "SHMLEASE"
	leaseHeader = 16 // bytes: leaseMagic and the number

	// The table of those who sleep, see wakeTable.
	wakeOffset    = 64 << 10
	wakeSlots     = 1 << 15
	leaseFileSize = wakeOffset + 8*wakeSlots

	// Bytes of a segment in the lease file.
	leaseBase     = 1 << 62 // format.LeaseBase
	leaseIDs      = 1 << 30 // format.MaxID + 1
	allocationBit = leaseIDs
	segmentBytes  = 2 * leaseIDs
)

// place is a lease file.
type place struct {
	number uint64
	file   *os.File // never closed
	key    Key
	path   string
	mode   fs.FileMode // of who may use it
	gid    int
	writes bool // this process may lock

	mu   sync.Mutex
	free *sync.Cond           // a lock was released
	held map[int64]*os.File   // by the byte of the lease file; nil: it is about to be locked
	of   map[*os.File][]int64 // the reverse

	table wakeTable
}

// places has the lease files that this process uses.
var places = struct {
	sync.Mutex
	byNumber map[uint64]*place
	byPath   map[string]*place
	of       map[Key]*place // of segments
}{byNumber: map[uint64]*place{}, byPath: map[string]*place{}, of: map[Key]*place{}}

// leasePath returns the name of the lease file for segments of a user, a mode and a group.
func leasePath(uid, gid int, mode fs.FileMode) string {
	if mode&0o060 == 0 {
		return fmt.Sprintf("%s.shm-leases-%d-%03o", sharedDir, uid, mode)
	}
	return fmt.Sprintf("%s.shm-leases-%d-%03o-%d", sharedDir, uid, mode, gid)
}

// leaseMode is the mode of a lease file for segments of a mode: whoever may write to a
// segment may write to its lease file.
func leaseMode(mode fs.FileMode) fs.FileMode { return mode&0o666 | 0o600 }

// NewPlace returns a place for the locks of a new segment, whose file will have that mode:
// a number that stands in the segment, for Settle. The error wraps an *fs.PathError.
func NewPlace(mode fs.FileMode) (uint64, error) {
	places.Lock()
	defer places.Unlock()
	p, err := ownPlace(os.Geteuid(), os.Getegid(), leaseMode(mode))
	if err != nil {
		return 0, err
	}
	return p.number, nil
}

// ownPlace returns the lease file of a user, and makes it if it is not there. places is
// locked.
func ownPlace(uid, gid int, mode fs.FileMode) (*place, error) {
	path := leasePath(uid, gid, mode)
	const tries = 100 // against those who remove it again and again
	for range tries {
		p, err := openPlace(path, uid, gid, mode)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return p, err
		}
		header := binary.NativeEndian.AppendUint64([]byte(leaseMagic), newPlaceNumber())
		f, err := CreateNamed(path, mode, header, leaseFileSize)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := withDescriptor(f, func(fd int) error { return unix.Fchown(fd, uid, gid) }); err != nil && mode&0o060 != 0 {
			err = errors.Join(errs.Path("chown", path, err), Remove(path))
			return nil, CloseAfter(f, err)
		}
		return keepPlace(f, path, gid, mode, true)
	}
	return nil, errs.Path("create", path, fmt.Errorf("it was removed and made %d times", tries))
}

// newPlaceNumber returns a number of 40 bits. Small ones are for systems, see Settle.
func newPlaceNumber() uint64 { return rand.Uint64N(1<<40-1<<16) + 1<<16 }

// openPlace opens a lease file, or returns the one that is open already. places is locked.
func openPlace(path string, uid, gid int, mode fs.FileMode) (*place, error) {
	if p := places.byPath[path]; p != nil {
		var st unix.Stat_t
		if retry(func() error { return unix.Lstat(path, &st) }) == nil && keyOf(&st) == p.key && p.alive() == nil {
			return p, nil
		}
	}
	f, writes, err := openLeases(path)
	if err != nil {
		return nil, err
	}
	st, err := stat(f, path)
	if err == nil {
		if int(st.Uid) != uid && st.Uid != 0 || fs.FileMode(st.Mode)&0o666&^mode != 0 {
			err = errs.Path("open", path, fmt.Errorf("%w: it has the leases of user %d's segments, and is owned by user %d with mode %#o: remove it", errs.Insecure, uid, st.Uid, fs.FileMode(st.Mode)&0o777))
		}
	}
	if err != nil {
		return nil, closeUnknown(f, err)
	}
	return keepPlace(f, path, gid, mode, writes)
}

// openLeases opens a lease file, for reading only if this process may not write to it. Only
// closeUnknown may close what it returns: this process may have locks in the file.
func openLeases(path string) (f *os.File, writes bool, err error) {
	f, err = OpenExisting(path, false)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return f, true, err
	}
	f, err = OpenExisting(path, true)
	return f, false, err
}

// closeUnknown is CloseAfter, unless f is a lease file of this process.
func closeUnknown(f *os.File, err error) error {
	if st, failed := stat(f, f.Name()); failed == nil && isPlace(keyOf(&st)) {
		kept = append(kept, f)
		return err
	}
	return CloseAfter(f, err)
}

// isPlace reports whether this process has a lease file open. places is locked.
func isPlace(key Key) bool {
	for _, p := range places.byNumber {
		if p.key == key && p.alive() == nil {
			return true
		}
	}
	return false
}

// keepPlace keeps an open lease file. places is locked.
func keepPlace(f *os.File, path string, gid int, mode fs.FileMode, writes bool) (*place, error) {
	number, err := placeNumber(f, path)
	if err != nil {
		return nil, closeUnknown(f, err)
	}
	st, err := stat(f, path)
	if err != nil {
		return nil, closeUnknown(f, err)
	}
	if p := places.byNumber[number]; p != nil && p.key == keyOf(&st) && p.alive() == nil {
		// The same file, under another name or anew. A close would drop all locks.
		places.byPath[path] = p
		kept = append(kept, f)
		return p, nil
	}
	p := &place{number: number, file: f, key: keyOf(&st), path: path, mode: mode, gid: gid, writes: writes, held: map[int64]*os.File{}, of: map[*os.File][]int64{}}
	p.free = sync.NewCond(&p.mu)
	p.table.init(p)
	places.byNumber[number], places.byPath[path] = p, p
	return p, nil
}

// kept has files that must not be closed.
var kept []*os.File

// placeNumber returns the number that a lease file has.
func placeNumber(f *os.File, path string) (uint64, error) {
	var b [leaseHeader]byte
	if _, err := f.ReadAt(b[:], 0); err != nil || string(b[:8]) != leaseMagic {
		return 0, errs.Path("open", path, fmt.Errorf("%w: it is no lease file; remove it", errs.Format))
	}
	return binary.NativeEndian.Uint64(b[8:]), nil
}

// alive returns an error if the descriptor of the lease file leads to another file: other
// code of this program has closed it. Its locks are gone then.
func (p *place) alive() error {
	st, err := stat(p.file, p.path)
	if err == nil && keyOf(&st) != p.key {
		err = errs.Path("lock", p.path, fmt.Errorf("%w: the descriptor of the lease file leads to another file", fs.ErrClosed))
	}
	return err
}

// Settle makes the functions for byte locks use the place of the locks that a segment
// has; f is its file. Each attachment calls it before its first lock or question. If
// vacant is true, no process of this boot has a lock of the segment yet, so the place may
// be given up: it belongs to an earlier boot, or to another file. Then Settle may return
// a new place, which the caller has to store in the segment in its stead, unless another
// process was faster; the caller calls Settle again with the one that is there then.
//
// The error is an *fs.PathError. It wraps errs.Version if this process cannot see the
// locks of the processes that use the segment, because they keep them elsewhere.
func Settle(f *os.File, path string, number uint64, vacant bool) (uint64, error) {
	st, err := stat(f, path)
	if err != nil {
		return 0, err
	}
	if number < 1<<16 {
		return 0, errs.Path("open", path, fmt.Errorf("%w: its locks are on its own bytes, where programs of this kind do not look: a program that was built without the tag shmportable made it, or another system; build all programs that share it in the same way", errs.Version))
	}
	places.Lock()
	defer places.Unlock()
	if p := places.byNumber[number]; p != nil && p.alive() == nil {
		places.of[keyOf(&st)] = p
		return number, nil
	}
	mode := leaseMode(fs.FileMode(st.Mode))
	uid, gid := int(st.Uid), int(st.Gid)
	p, err := openPlace(leasePath(uid, gid, mode), uid, gid, mode)
	if (err != nil || p.number != number) && !vacant {
		// The segment may have had another mode or group when it was made.
		if found := findPlace(uid, number); found != nil {
			p, err = found, nil
		} else if err == nil || errors.Is(err, fs.ErrNotExist) {
			return 0, errs.Path("open", path, fmt.Errorf("%w: this process finds no lease file %s.shm-leases-%d-… with the segment's number, so it cannot know who uses the segment: the file was removed, or the segment had another mode, group or owner when it was made, and this process may not read the lease file of these: end the processes that use the segment (fuser lists them), and remove it", errs.Version, sharedDir, uid))
		}
	}
	if err == nil && !p.writes && mode&^p.mode&0o222 != 0 && writable(f) {
		return 0, errs.Path("open", path, fmt.Errorf("its lease file %s lets fewer users write than its mode %#o, because the segment had another mode when it was made: attach with Options.ReadOnly, or remove the segment and make it anew with the Options.Mode that you want: %w", p.path, mode, fs.ErrPermission))
	}
	if err != nil && errors.Is(err, fs.ErrNotExist) {
		p, err = ownPlace(uid, gid, mode)
	}
	if err != nil {
		return 0, errs.Path("open", path, fmt.Errorf("its lease file: %w", err))
	}
	places.of[keyOf(&st)] = p
	return p.number, nil
}

// findPlace looks for the lease file of a user that has a number, whatever mode and group its
// name says. It returns nil if this process can read none. places is locked.
func findPlace(uid int, number uint64) *place {
	prefix := fmt.Sprintf(".shm-leases-%d-", uid)
	entries, _ := os.ReadDir(sharedDir) // A directory that cannot be read has none that could be told.
	for _, e := range entries {
		path := sharedDir + e.Name()
		var st unix.Stat_t
		if !strings.HasPrefix(e.Name(), prefix) || retry(func() error { return unix.Lstat(path, &st) }) != nil || isPlace(keyOf(&st)) {
			continue // This process knows the numbers of the files that it has open.
		}
		f, writes, err := openLeases(path)
		if err != nil {
			continue
		}
		if st, err = stat(f, path); err == nil && (int(st.Uid) == uid || st.Uid == 0) {
			if have, err := placeNumber(f, path); err == nil && have == number {
				if p, err := keepPlace(f, path, int(st.Gid), fs.FileMode(st.Mode)&0o666, writes); err == nil {
					return p
				}
				continue
			}
		}
		_ = closeUnknown(f, nil) // nothing was written
	}
	return nil
}

// writable reports whether a descriptor permits writing.
func writable(f *os.File) bool {
	flags := 0
	err := withDescriptor(f, func(fd int) (err error) {
		flags, err = unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		return err
	})
	return err == nil && flags&unix.O_ACCMODE != unix.O_RDONLY
}

// Unsettle forgets what Settle was told of a file. Nothing in this process uses the file
// any more.
func Unsettle(key Key) {
	places.Lock()
	defer places.Unlock()
	delete(places.of, key)
}

// placeOf returns the lease file of a segment, or nil.
func placeOf(key Key) *place {
	places.Lock()
	defer places.Unlock()
	return places.of[key]
}

// firstByte returns where the bytes of a segment begin in its lease file.
func firstByte(key Key) int64 {
	h := fnv.New64a()
	_, _ = h.Write(binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, key.Dev), key.Ino)) // never fails
	// The first ones are those of the file itself.
	return (int64(h.Sum64()>>33) + 1) * segmentBytes
}

// Backend names this set of files: linux, portable (what POSIX has and little more), or
// none, which only compiles.
const Backend = "portable"
