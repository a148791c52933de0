package lease

import (
	"fmt"
	"os"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/sys"
)

// Settle finds the place where the segment's locks are. Each attachment calls it before
// it asks for a lock of others or takes one. vacant says that no process of this boot has
// attached to the file yet: only then a place that is gone may be replaced by another.
// f is the segment's file.
func (o *Owner) Settle(f *os.File, vacant bool) error {
	const tries = 100 // against a peer that changes the word for ever
	for range tries {
		w := o.header.Place.Word.Load()
		place, ok := format.Unseal(w)
		if !ok {
			return errs.Path("open", o.path, fmt.Errorf("%w: the header's word of the place of locks is damaged", errs.Format))
		}
		now, err := sys.Settle(f, o.path, place, vacant)
		if err != nil || now == place || o.readOnly {
			return err
		}
		if o.header.Place.Word.CompareAndSwap(w, format.Seal(now)) {
			return nil
		}
	}
	return errs.Path("open", o.path, fmt.Errorf("%w: the place of the locks kept changing", errs.Format))
}
