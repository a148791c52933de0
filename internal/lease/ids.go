package lease

import (
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"time"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/sys"
)

// checkEvery is the least time between two looks of a mapping at its own lease.
const checkEvery = int64(100 * time.Millisecond)

// nextIDGap is how far an id may be above the counter and yet have been given out:
// before the power failed, the counter's page may have reached the disk earlier than
// that of a lock word.
const nextIDGap = 1 << 20

// Adopt makes sure that no mapping gets an id that stands in a lock cell. It is for a
// file that outlived its system, or was copied, so that its counter may be older
// than its locks. It needs no lock: the counter only grows. It leaves the owner in
// the cell, which is dead, to whoever asks for that lock. An id that was never given
// out is removed, unless its lease is held. f is the segment's file.
func (o *Owner) Adopt(f *os.File, cell *format.LockCell) {
	o.adopt(f, func() (uint32, func() bool) {
		w := cell.Word.Load()
		return w & format.OwnerMask, func() bool {
			cell.Abandoned.Store(1)
			killpoint.At(killpoint.StaleOwnerMarked)
			return cell.Word.CompareAndSwap(w, 0)
		}
	})
}

// AdoptCell is Adopt for the cell of a counter, a gauge or a histogram. Its number
// stays.
func (o *Owner) AdoptCell(f *os.File, cell *format.Cell) {
	o.adopt(f, func() (uint32, func() bool) {
		w := cell.Owner.Load()
		return uint32(w), func() bool { return cell.Owner.CompareAndSwap(w, 0) }
	})
}

// adopt is Adopt for an owner that look returns, with a function that removes it.
func (o *Owner) adopt(f *os.File, look func() (id uint32, remove func() bool)) {
	for {
		id, remove := look()
		next := o.header.NextID.Word.Load()
		n, ok := format.Unseal(next)
		switch {
		case !ok || uint64(id) < n:
			return
		case uint64(id) < n+nextIDGap && id <= format.MaxID:
			if o.header.NextID.Word.CompareAndSwap(next, format.Seal(uint64(id)+1)) {
				killpoint.At(killpoint.NextIDRaised)
				return
			}
		case o.Held(f, id):
			return
		default:
			if remove() {
				killpoint.At(killpoint.StaleOwnerRemoved)
				return
			}
		}
	}
}

// Take gives this mapping an id and its lease, once. A read-only mapping needs
// none. The order is: id, lease, table, first use of the id. A later call returns an
// error if it notices that the lease is gone.
func (o *Owner) Take(f *os.File) error {
	if o.readOnly {
		return nil
	}
	if o.ID() != 0 {
		return o.keeps(f)
	}
	control, err := o.open(f)
	if err != nil {
		return fmt.Errorf("no lock without a lease: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ID() != 0 {
		return nil
	}
	id, err := o.newID(control)
	if err != nil {
		return fmt.Errorf("no lock without a lease: %w", err)
	}
	o.control.lease = format.LeaseBase + int64(id)
	entry := o.entry(id)
	entry.ID.Store(0)
	killpoint.At(killpoint.TableCleared)
	entry.Pid, entry.Namespace, entry.Program = uint32(os.Getpid()), sys.PidNamespace(), [48]byte{}
	copy(entry.Program[:], sys.Program())
	killpoint.At(killpoint.TableWritten)
	entry.ID.Store(id)
	killpoint.At(killpoint.TablePublished)
	o.id.Store(id)
	return nil
}

// keeps returns an error if the lease of this mapping is gone, because other code of
// this program has closed its description. It looks once in a while. Other processes
// take this one for dead then, and its locks for abandoned.
func (o *Owner) keeps(f *os.File) error {
	if !o.lost.Load() {
		now, last := sys.Monotonic(), o.checkedAt.Load()
		if uint64(now-last) < uint64(checkEvery) || !o.checkedAt.CompareAndSwap(last, now) {
			return nil
		}
		// Through the description that holds it, a lease looks free. If the number is
		// now another description's, of the same file, only f tells.
		gone := o.check(o.control.file) != nil
		runtime.KeepAlive(o)
		if !gone {
			held, err := sys.Locked(f, format.LeaseBase+int64(o.ID()), 1)
			gone = err == nil && !held && o.check(f) == nil
		}
		if !gone {
			return nil
		}
		o.lost.Store(true)
	}
	return errs.Path("lock", o.path, fmt.Errorf("%w: the descriptor that holds the lease of this process; other processes take it for dead, and its locks for abandoned; %s", fs.ErrClosed, advice))
}

// newID takes an id that no mapping had before, and its lease. It skips a few
// ids whose place in the table belongs to a living process, so that processes
// that live long keep their entries.
func (o *Owner) newID(control *os.File) (uint32, error) {
	const polite = 32
	for tries := 0; ; tries++ {
		w := o.header.NextID.Word.Load()
		n, ok := format.Unseal(w)
		if !ok || n == 0 {
			return 0, errs.Path("attach", o.path, fmt.Errorf("%w: the id counter is damaged", errs.Format))
		}
		if n > format.MaxID {
			return 0, errs.Path("attach", o.path, fmt.Errorf("%w: all %d ids are used up; remove the segment and create a new one", errs.Full, format.MaxID))
		}
		// A read lock keeps out whoever comes. To find out uses up no id.
		obstacle, err := sys.Obstacle(control, format.LeaseBase+int64(n))
		if err != nil {
			return 0, errs.Path("lease", o.path, err)
		}
		if obstacle == sys.SharedLock {
			return 0, errs.Path("lease", o.path, fmt.Errorf("%w: a process that may only read the file keeps others from a lease, by a read lock on the bytes of the leases; end it (fuser lists the processes that have the file open), or create the segment for fewer users (Options.Mode)", sys.ErrLocked))
		}
		if !o.header.NextID.Word.CompareAndSwap(w, format.Seal(n+1)) {
			continue
		}
		killpoint.At(killpoint.IDTaken)
		id := uint32(n)
		if other := o.entry(id).ID.Load() & format.MaxID; tries < polite && other != 0 && held(control, other) {
			continue
		}
		got, err := sys.TryLock(control, format.LeaseBase+int64(id))
		if got {
			killpoint.At(killpoint.LeaseTaken)
			return id, nil
		}
		if err != nil {
			return 0, errs.Path("lease", o.path, err)
		}
		if tries > 2*polite { // a peer holds leases that it has no right to
			return 0, errs.Path("attach", o.path, fmt.Errorf("%w: another process holds the leases of %d new ids", errs.Format, tries))
		}
	}
}
