package directory

import (
	"fmt"
	"os"
	"slices"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
)

// CheckAll validates all records, and the index: it leads to the newest record of each
// name, and to nothing else. Processes may add values meanwhile. A process that died
// while it added one has left no damage: header.Indexed tells what the index must have.
func (d *Directory) CheckAll(f *os.File) error {
	wrong, err := d.examine(f)
	if wrong != "" && err == nil {
		// A process may have made the index anew meanwhile, which it does only once.
		wrong, err = d.examine(f)
	}
	if wrong == "" && err == nil {
		return nil
	}
	// Where a file was cut off, the rest of the page is zeros.
	if cut := d.locked(func() error { d.verified = 0; return d.verify(f, d.used) }); cut != nil {
		return cut
	}
	if err != nil {
		return err
	}
	return d.region.Guarded(func() error {
		advice := "whoever looks for a value by its name may not find it"
		if d.Vacant() && !d.inUse(f) {
			advice = "the next process that attaches for writing makes the index anew"
		}
		return fmt.Errorf("%w: the index is damaged: %s; %s", errs.Format, wrong, advice)
	})
}

// examine is CheckAll at one time. It returns what is wrong with the index, or the error
// of a record or of the header.
//
// It loads header.Indexed first. What it then asks of the index holds from the store
// of that number on, whatever processes add: they fill free slots, and replace the slot of
// a name by that of a newer record.
func (d *Directory) examine(f *os.File) (wrong string, err error) {
	var indexed, used int64
	var values uint64
	var t table
	err = d.locked(func() (err error) {
		var ok, counted bool
		indexed, ok = d.header.Indexed.Bytes()
		values, counted = d.header.Values.Load()
		switch {
		case !ok || indexed < format.HeaderSize:
			return d.fail("open", fmt.Errorf("%w: the indexed size is damaged", errs.Format))
		case !counted:
			return d.fail("open", fmt.Errorf("%w: the number of values is damaged", errs.Format))
		}
		if used, err = d.readUsed(f); err == nil {
			t, err = d.currentIndex(f)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	led := slotsInUse{indexed: indexed}
	if err = d.region.Guarded(func() error { wrong = led.read(t); return nil }); err != nil {
		return "", err
	}
	// The records of all slots that were read are before this end.
	if err = d.locked(func() (err error) { used, err = d.readUsed(f); return err }); err != nil {
		return "", err
	}
	off := int64(format.HeaderSize)
	for off < used && err == nil {
		var r *format.Record
		var size int64
		err = d.locked(func() (err error) {
			if r, size, err = d.decode(off, used); err == nil && r.Kind == format.KindGrowth {
				_, err = d.grownFrom(r)
			}
			return err
		})
		if err == nil {
			led.meet(r)
			off += size
		}
	}
	switch {
	case err != nil:
		return "", err
	case indexed == format.HeaderSize: // a process makes the index anew: nothing must be in it
		return "", nil
	case wrong != "":
		return wrong, nil
	}
	return led.missed(off, values), nil
}

// slotsInUse compares the slots of an index with the records. The records up to indexed
// must be in the index, those behind may be.
type slotsInUse struct {
	indexed int64
	slots   []format.Slot // sorted: by tag, and then by record

	met     int // slots of which the record was met
	names   uint64
	bounded bool // a record starts at indexed
	missing map[int64]string
	grown   map[int64]*growths  // by the offset of the struct's own record
	twins   map[string]struct{} // names that share their tag with another slot
	wrong   string              // the first finding
}

// growths is the growth records of a struct.
type growths struct {
	led    int64 // the record to which the index leads; 0: none
	newest int64 // the last one that must be in the index
}

// read reads the slots of an index, and returns what is wrong with them.
//
// Preconditions: the caller is inside region.Guarded, and indexed was loaded before the
// table was looked up.
func (s *slotsInUse) read(t table) (wrong string) {
	n := uint64(len(t.slots))
	first := uint64(0) // a free slot
	for first < n && t.slots[first].Load() != 0 {
		first++
	}
	if first == n {
		return fmt.Sprintf("none of its %d slots is free", n)
	}
	for free, i := first, first+1; i < first+n; i++ {
		slot := format.Slot(t.at(i).Load())
		if slot == 0 {
			free = i
			continue
		}
		s.slots = append(s.slots, slot)
		// Processes fill free slots meanwhile, but not one before the slot of an older record.
		if from := (i - slot.Tag()) & (n - 1); from >= i-free && slot.Start() < s.indexed && wrong == "" {
			wrong = fmt.Sprintf("no search reaches the slot that leads to byte %d", slot.Start())
		}
	}
	slices.Sort(s.slots)
	for i := 1; i < len(s.slots) && wrong == ""; i++ {
		if s.slots[i] == s.slots[i-1] {
			wrong = fmt.Sprintf("two slots lead to byte %d", s.slots[i].Start())
		}
	}
	return wrong
}

// has reports whether a slot leads to a record of that name at an offset.
func (s *slotsInUse) has(name string, start int64) bool {
	_, found := slices.BinarySearch(s.slots, format.MakeSlot(format.Tag(name), start))
	return found
}

// shared reports whether more than one slot has the tag of a name.
func (s *slotsInUse) shared(name string) bool {
	tag := format.Tag(name)
	i, _ := slices.BinarySearch(s.slots, format.MakeSlot(tag, 0))
	return i+1 < len(s.slots) && s.slots[i+1].Tag() == tag
}

// meet takes the next record into account.
func (s *slotsInUse) meet(r *format.Record) {
	due := r.Start < s.indexed
	s.bounded = s.bounded || r.Start == s.indexed
	if r.Kind == format.KindIndex {
		return
	}
	led := s.has(r.Name, r.Start)
	if led {
		s.met++
	}
	if r.Kind == format.KindGrowth {
		s.meetGrowth(r, led, due)
		return
	}
	if !due {
		return
	}
	s.names++
	if !led {
		if s.missing == nil {
			s.missing = map[int64]string{}
		}
		s.missing[r.Start] = r.Name
	}
	if s.shared(r.Name) {
		if s.twins == nil {
			s.twins = map[string]struct{}{}
		}
		if _, twice := s.twins[r.Name]; twice {
			s.note("%q is there twice, the second time at byte %d", r.Name, r.Start)
		}
		s.twins[r.Name] = struct{}{}
	}
}

// meetGrowth takes a growth record into account, whose struct was met before.
func (s *slotsInUse) meetGrowth(r *format.Record, led, due bool) {
	g := s.grown[r.Older]
	if g == nil {
		g = new(growths)
		if s.has(r.Name, r.Older) {
			g.led = r.Older
		}
		if s.grown == nil {
			s.grown = map[int64]*growths{}
		}
		s.grown[r.Older] = g
	}
	if led {
		if g.led != 0 {
			s.note("two slots lead to %q, at bytes %d and %d", r.Name, g.led, r.Start)
		}
		g.led = r.Start
		delete(s.missing, r.Older)
	}
	if due {
		g.newest = r.Start
	}
}

// note keeps a finding, if it is the first.
func (s *slotsInUse) note(text string, args ...any) {
	if s.wrong == "" {
		s.wrong = fmt.Sprintf(text, args...)
	}
}

// missed returns what is wrong with the index, after all records up to the end were met.
// values is how many names the header counts.
func (s *slotsInUse) missed(end int64, values uint64) string {
	if len(s.missing) > 0 {
		first := end
		for start := range s.missing {
			first = min(first, start)
		}
		s.note("no slot leads to %q at byte %d", s.missing[first], first)
	}
	for _, g := range s.grown {
		if g.led != 0 && g.led < g.newest {
			s.note("a slot leads to byte %d, and a newer record of the name is at byte %d", g.led, g.newest)
		}
	}
	switch n := uint64(len(s.slots)); {
	case s.met < len(s.slots):
		s.note("%d of its slots lead to no record of a name with their tag", len(s.slots)-s.met)
	case !s.bounded && s.indexed != end:
		s.note("it has the records up to byte %d of %d, and none ends there", s.indexed, end)
	case values < s.names || values > n:
		s.note("the header counts %d names, of which the index has %d, and %d must be there", values, n, s.names)
	}
	return s.wrong
}
