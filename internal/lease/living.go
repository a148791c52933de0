package lease

import (
	"fmt"
	"os"
	"slices"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/sys"
)

// maxLiving is how many ids Living finds at most. A peer may hold leases that it was
// not given.
const maxLiving = 1 << 16

// Living returns the ids whose leases are held, this mapping's among them, in
// ascending order. It asks the system, and not the table, which has room for only so
// many ids. f is the segment's file.
//
// Preconditions: f is not the description that holds a lease.
func (o *Owner) Living(f *os.File) ([]uint32, error) {
	next, ok := o.header.NextID.Load()
	if !ok {
		return nil, errs.Path("open", o.path, fmt.Errorf("%w: the id counter is damaged", errs.Format))
	}
	type span struct{ from, to int64 } // ids
	var ids []uint32
	for spans := []span{{1, int64(min(next, format.MaxID+1))}}; len(spans) > 0 && len(ids) < maxLiving; {
		s := spans[len(spans)-1]
		spans = spans[:len(spans)-1]
		if s.from >= s.to {
			continue
		}
		start, n, err := sys.LockedRange(f, format.LeaseBase+s.from, s.to-s.from)
		if err != nil {
			return nil, errs.Path("lock", o.path, err)
		}
		if n == 0 {
			continue
		}
		// A lock that others have made may begin anywhere.
		found := span{max(start-format.LeaseBase, s.from), s.to}
		if n < s.to-found.from {
			found.to = min(max(start-format.LeaseBase+n, found.from+1), s.to)
		}
		ids = o.appendIDs(ids, found.from, found.to)
		spans = append(spans, span{s.from, found.from}, span{found.to, s.to})
	}
	if !o.leadsTo(f) {
		return nil, errs.Path("lock", o.path, fmt.Errorf("a descriptor of the segment leads to another file; %s", advice))
	}
	slices.Sort(ids)
	return ids, nil
}

// appendIDs appends the ids from from up to to, whose leases one lock covers. A lock of
// more than one byte is no process's lease, so these are only the ids that the table
// has.
func (o *Owner) appendIDs(ids []uint32, from, to int64) []uint32 {
	if to-from == 1 {
		return append(ids, uint32(from))
	}
	for i := range o.header.Table {
		if id := o.header.Table[i].ID.Load(); from <= int64(id) && int64(id) < to {
			ids = append(ids, id)
		}
	}
	return ids
}

// Lives reports whether the process with an id lives. It is Alive for an owner that
// may have no id: that asks through f, the segment's file. If f is closed, that one
// counts as living.
func (o *Owner) Lives(f *os.File, id uint32) bool {
	switch {
	case id == 0 || o.Dead(id):
		return false
	case o.ID() != 0:
		return o.Alive(id)
	}
	return o.Held(f, id)
}
