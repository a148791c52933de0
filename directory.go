package shm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
)

// directory is this process's index of the named values. Records are only ever
// appended, so it grows from the last "used" it saw and never reads one twice.
//
// Invariants: records[i].name is unique, and its index i; byName holds each of
// them; seen is the end of the last of them; every offset in them is below
// verified, bytes that the file was seen to have. A record never changes: one
// that grows is replaced, since handles hold it.
type directory struct {
	mu       sync.RWMutex
	byName   map[string]*record
	records  []*record
	layouts  map[string]*Layout // by format: most segments have few
	seen     int64
	verified int64
}

func (d *directory) find(name string) *record {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.byName[name]
}

func (d *directory) all() []*record {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.Clone(d.records)
}

// extend reads what has been published since the last time.
func (d *directory) extend(m *mapping, f *os.File) error {
	return m.guarded(func() error { return d.extendGuarded(m, f) })
}

// extendGuarded is extend for who is guarded already.
func (d *directory) extendGuarded(m *mapping, f *os.File) error {
	used, ok := m.used.bytes()
	d.mu.RLock()
	current := ok && used == d.seen
	d.mu.RUnlock()
	if current {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.extendLocked(m, f)
}

// extendLocked is extendGuarded for who holds d.mu.
func (d *directory) extendLocked(m *mapping, f *os.File) error {
	if d.byName == nil {
		d.byName, d.layouts, d.seen = map[string]*record{}, map[string]*Layout{}, headerSize
	}
	used, ok := m.used.bytes()
	if !ok || used < d.seen {
		return pathError("open", m.path, fmt.Errorf("%w: %d bytes used, after %d", ErrFormat, used, d.seen))
	}
	if err := m.reach(f, used); err != nil {
		return err
	}
	for d.seen < used {
		r, size, err := decode(m.mem, d.seen, used, d.layouts)
		if err != nil {
			return pathError("open", m.path, err)
		}
		if err := d.add(r); err != nil {
			return pathError("open", m.path, fmt.Errorf("%w: record at %d: %w", ErrFormat, d.seen, err))
		}
		d.seen += size
	}
	return nil
}

// add takes a record into the index. d.mu is held.
func (d *directory) add(r *record) error {
	old := d.byName[r.name]
	if r.kind == kindGrowth {
		if want := (&shape{layout: r.layout, count: r.count, access: r.access, kind: kindSingle}); old == nil || !want.outgrows(old) || r.capacity != old.capacity {
			return fmt.Errorf("%q does not grow into %q", r.name, r.layout.Format)
		}
		grown := *old
		grown.layout = r.layout
		d.records[old.index], d.byName[r.name] = &grown, &grown
		return nil
	}
	if old != nil {
		return fmt.Errorf("name %q again", r.name)
	}
	r.index = len(d.records)
	d.byName[r.name] = r
	d.records = append(d.records, r)
	return nil
}

// reach makes sure that the first end bytes, which another process may have
// allocated, can be touched here. m.dir.mu is held.
func (m *mapping) reach(f *os.File, end int64) error {
	if end > int64(len(m.mem)) {
		return pathError("open", m.path, fmt.Errorf("%w: it has grown to %d bytes, this process could map only %d", ErrFull, end, len(m.mem)))
	}
	return m.dir.verify(f, m.path, end)
}

// verify makes sure that the file has the first end bytes, whatever its header
// says. d.mu is held.
func (d *directory) verify(f *os.File, path string, end int64) error {
	if end <= d.verified {
		return nil
	}
	size, err := fileSize(f, path)
	if err != nil {
		return err
	}
	if size < end {
		return pathError("open", path, fmt.Errorf("%w: cut off: %d bytes of %d are there", ErrFormat, size, end))
	}
	d.verified = size
	return nil
}

// find reads what has been published since the last time, and returns the value
// of that name, nil if there is none. One that is known already is good where
// others have grown the segment beyond what this process could map.
//
// Preconditions: the caller is guarded.
func (m *mapping) find(f *os.File, name string) (*record, error) {
	err := m.dir.extendGuarded(m, f)
	r := m.dir.find(name)
	if r != nil && errors.Is(err, ErrFull) {
		err = nil
	}
	return r, err
}

// place finds the value that want describes, or makes it: init, which may be
// nil, then writes the first value before anybody can see it. Between
// processes that do this at once, the first one's init stands.
//
// A count of -1 takes the length found.
func (s *Segment) place(want shape, init func(*mapping, *record)) (*mapping, *record, error) {
	var r *record
	m, err := s.namedMapping()
	if err == nil {
		err = m.guarded(func() (err error) {
			r, err = s.find(m, &want)
			if err == nil && want.hasLock() {
				// Before the value is made: who cannot lock leaves none behind.
				err = m.prepareLocks(s.file)
			}
			if err == nil && (r == nil || want.outgrows(r) && !m.readOnly) {
				if r, err = m.create(s.file, &want, init); err == nil {
					err = want.match(r)
				}
			}
			return err
		})
	}
	if err != nil {
		var mismatch *LayoutError
		if errors.As(err, &mismatch) { // it names the value
			mismatch.Segment = m.path
			return nil, nil, err
		}
		return nil, nil, fmt.Errorf("shm: value %q: %w", want.name, s.closedError(err))
	}
	return m, r, nil
}

// find returns the value that want describes; nil if it has to be made.
func (s *Segment) find(m *mapping, want *shape) (*record, error) {
	r, err := m.find(s.file, want.name)
	if err != nil {
		return nil, err
	}
	if r == nil {
		if m.readOnly {
			return nil, fmt.Errorf("%w: no such value to attach to in %s (%w)", ErrReadOnly, s.label(), fs.ErrNotExist)
		}
		if want.count < 0 {
			return nil, fmt.Errorf("no length given, and no such value in %s to take it from: %w", s.label(), fs.ErrNotExist)
		}
		return nil, nil
	}
	return r, want.match(r)
}

// outgrows reports whether what is wanted is what is there with fields appended
// that fit.
func (s *shape) outgrows(r *record) bool {
	return s.grows() && r.grows() && !sameLayout(s.layout, r.layout) && s.layout.extends(*r.layout) && int64(s.layout.Size) <= r.capacity
}

// match compares what is there with what is wanted.
func (s *shape) match(r *record) error {
	if s.access == r.access && s.kind == r.kind && (s.count == r.count || s.count < 0) && sameLayout(s.layout, r.layout) {
		return nil
	}
	reason := ""
	if s.grows() && r.grows() {
		switch {
		case s.outgrows(r), r.layout.extends(*s.layout):
			return nil
		case s.layout.extends(*r.layout):
			reason = fmt.Sprintf("it only appends fields, but there is room for %d bytes and it takes %d", r.capacity, s.layout.Size)
		default:
			reason = "a struct may only have fields appended"
		}
	}
	e := &LayoutError{
		Name: r.name, HaveLen: int(r.count), WantLen: int(max(s.count, 0)), HaveAccess: r.access, WantAccess: s.access,
		Pid: int(r.pid), Program: r.program, Reason: reason,
	}
	if r.layout != nil {
		e.Have = r.layout.clone()
	}
	if s.layout != nil {
		e.Want = s.layout.clone()
	}
	return e
}

func sameLayout(a, b *Layout) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a == b || a.Equal(*b)
}

// create appends a record under the allocation lock. Whoever dies inside leaves
// nothing: the one store to used publishes, and what was written above it is
// cleared by the next one to come.
func (m *mapping) create(f *os.File, want *shape, init func(*mapping, *record)) (*record, error) {
	if err := want.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", fs.ErrInvalid, err)
	}
	unlock, err := m.lockAllocation(f)
	if err != nil {
		return nil, err
	}
	defer unlock()
	d := &m.dir
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.extendLocked(m, f); err != nil {
		return nil, err
	}
	old := d.byName[want.name]
	if old != nil && !want.outgrows(old) {
		return old, nil // somebody was first
	}
	capacity := want.room()
	if old != nil {
		growth := *want
		growth.kind, growth.unit, growth.help = kindGrowth, "", ""
		want, init, capacity = &growth, nil, old.capacity
	}
	meta, size := want.encode(capacity)
	off := d.seen
	if err := m.grow(f, off+size); err != nil {
		return nil, err
	}
	if err := m.wipe(f, off); err != nil {
		return nil, err
	}
	r, _, err := decode(meta, 0, size, d.layouts)
	if err != nil {
		return nil, err
	}
	r.data += off
	written := off + int64(len(meta))
	if init != nil {
		written = off + size
	}
	m.dirty.storeBytes(written)
	killPoint(33)
	copy(sliceAt[byte](m, off, len(meta)), meta)
	killPoint(34)
	if init != nil {
		init(m, r)
		killPoint(35)
	}
	m.used.storeBytes(off + size) // publishes
	killPoint(36)
	m.names.changed()
	d.seen = off + size
	if err := d.add(r); err != nil {
		return nil, err
	}
	return d.byName[r.name], nil
}

// wipe clears what an allocator that died may have left from off on.
func (m *mapping) wipe(f *os.File, off int64) error {
	dirty, ok := m.dirty.bytes()
	if !ok {
		return pathError("allocate", m.path, fmt.Errorf("%w: dirty size", ErrFormat))
	}
	if err := m.reach(f, dirty); err != nil {
		return err
	}
	if off < dirty {
		clear(sliceAt[byte](m, off, int(dirty-off)))
		killPoint(37)
	}
	return nil
}

// grow makes sure that the first end bytes are allocated.
func (m *mapping) grow(f *os.File, end int64) error {
	allocated, ok := m.allocated.bytes()
	if !ok {
		return pathError("allocate", m.path, fmt.Errorf("%w: allocated size", ErrFormat))
	}
	if end > int64(len(m.mem)) {
		return pathError("allocate", m.path, fmt.Errorf("%w: %d bytes needed, %d is the most (Options.MaxSize of its creator, or this process's address space)", ErrFull, end, len(m.mem)))
	}
	if end <= allocated {
		return m.dir.verify(f, m.path, end)
	}
	// An eighth more than needed, so that many small values cost few calls; just
	// what is needed where the filesystem has no more.
	exact := (end + pageSize - 1) / pageSize * pageSize
	ample := min((end+max(end/8, firstAllocation))/pageSize*pageSize, int64(len(m.mem))/pageSize*pageSize)
	target := max(exact, ample)
	err := reserve(f, m.path, allocated, target)
	if err != nil && target > exact {
		target = exact
		err = reserve(f, m.path, allocated, target)
	}
	if err != nil {
		return err
	}
	killPoint(38)
	m.allocated.storeBytes(target)
	killPoint(39)
	return m.dir.verify(f, m.path, end)
}

// awaitName sleeps until the directory has the name.
func (m *mapping) awaitName(ctx context.Context, s *Segment, name string) error {
	return m.lobby.wait(ctx, m, &m.names, m.used.word.Load, func() (bool, error) {
		if s.m.Load() == nil {
			return false, ErrClosed
		}
		var r *record
		err := m.guarded(func() (err error) {
			r, err = m.find(s.file, name)
			return err
		})
		return r != nil, err
	})
}
