package lease

import (
	"os"

	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
)

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
	for {
		w := cell.Word.Load()
		id := w & format.OwnerMask
		next := o.header.NextID.Word.Load()
		n, ok := format.Unseal(next)
		switch {
		case !ok || uint64(id) < n:
			return
		case uint64(id) < n+nextIDGap:
			if o.header.NextID.Word.CompareAndSwap(next, format.Seal(uint64(id)+1)) {
				killpoint.At(killpoint.NextIDRaised)
				return
			}
		case o.Held(f, id):
			return
		default:
			cell.Abandoned.Store(1)
			killpoint.At(killpoint.StaleOwnerMarked)
			if cell.Word.CompareAndSwap(w, 0) {
				killpoint.At(killpoint.StaleOwnerRemoved)
				return
			}
		}
	}
}
