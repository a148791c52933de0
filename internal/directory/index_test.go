//go:build linux

package directory

import (
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/shmtest"
)

// slots returns the slots of the current index, which may be changed.
func (m mapping) slots() []atomic.Uint64 {
	m.t.Helper()
	start, ok := m.Header.Index.Bytes()
	r, _, err := format.Decode(m.Bytes, start, m.used(), m.layouts)
	if !ok || err != nil || r.Kind != format.KindIndex {
		m.t.Fatalf("the index is at %d: %v", start, err)
	}
	return mem.Slice[atomic.Uint64](&m.Region, r.Data, int(r.Count))
}

// indexed returns what the header says of the index.
func (m mapping) indexed() (end int64, values uint64) {
	end, _ = m.Header.Indexed.Bytes()
	values, _ = m.Header.Values.Load()
	return end, values
}

// mustBeIndexed fails unless the index has each record once, and the header says
// so.
func (m mapping) mustBeIndexed(when string) {
	m.t.Helper()
	all, slots := m.all(), m.slots()
	inUse := 0
	for i := range slots {
		if slots[i].Load() != 0 {
			inUse++
		}
	}
	if end, values := m.indexed(); end != m.used() || int(values) != len(all) || inUse != len(all) {
		m.t.Fatalf("%s: %d values up to byte %d are indexed in %d slots, of %d up to byte %d", when, values, end, inUse, len(all), m.used())
	}
	for _, r := range all {
		if found, err := m.again(true).find(r.Name); err != nil || found == nil || describe(found) != describe(r) {
			m.t.Fatalf("%s: %q is found as %v, %v", when, r.Name, found, err)
		}
	}
}

// The index grows with the number of names, and mappings that knew the smaller one
// find all.
func TestIndexGrows(t *testing.T) {
	m := newMapping(t)
	knew := m.again(true)
	const n = 5 * format.IndexSlots
	for i := range n {
		m.added(number(strconv.Itoa(i)))
		if i%97 == 0 {
			knew.found(strconv.Itoa(i / 2))
		}
	}
	if got := len(m.slots()); got != 16*format.IndexSlots {
		t.Errorf("%d slots for %d names", got, n)
	}
	for i := range n {
		knew.found(strconv.Itoa(i))
	}
	if end, values := m.indexed(); end != m.used() || values != n {
		t.Errorf("%d values up to byte %d of %d", values, end, m.used())
	}
}

// Where there is no room for a larger index, the old one serves on until one slot is
// left.
func TestIndexThatCannotGrow(t *testing.T) {
	m := newMapping(t)
	room := func(n int64) *format.Shape {
		return array("fills the segment", n-format.RoundUp(format.RecordFixed+20))
	}
	const left = (format.IndexSlots/2 + 40) * 3 * format.Line // for more names than half of the slots, and then not for a larger index
	m.added(room(int64(len(m.Bytes)) - m.used() - left))
	added := 1
	for {
		if _, err := m.add(number(strconv.Itoa(added)), nil); err != nil {
			if !m.isPath(err, errs.Full) {
				t.Fatal(err)
			}
			break
		}
		added++
	}
	if got := len(m.slots()); got != format.IndexSlots || added <= got/2 {
		t.Errorf("%d names in %d slots", added, got)
	}
	m.mustBeIndexed("in a full segment")
}

// Slots that lead anywhere are an error for who meets them, and nobody reads out of
// bounds or without an end.
func TestHostileSlots(t *testing.T) {
	doing := shmtest.Watchdog(t)
	for what, spoil := range map[string]func(m mapping, s []atomic.Uint64){
		"each slot leads beyond the segment": func(m mapping, s []atomic.Uint64) {
			for i := range s {
				s[i].Store(uint64(format.MakeSlot(format.Tag("x"), format.MaxSegment-format.Line)))
			}
		},
		"each slot leads into the header": func(m mapping, s []atomic.Uint64) {
			for i := range s {
				s[i].Store(uint64(format.MakeSlot(format.Tag("x"), format.Line)))
			}
		},
		"each slot leads into data": func(m mapping, s []atomic.Uint64) {
			for i := range s {
				s[i].Store(uint64(format.MakeSlot(format.Tag("x"), format.HeaderSize+4*format.Line)))
			}
		},
		"each slot leads to another name": func(m mapping, s []atomic.Uint64) {
			for i := range s {
				s[i].Store(uint64(format.MakeSlot(format.Tag("x"), m.found("n").Start)))
			}
		},
		"each slot has another tag": func(m mapping, s []atomic.Uint64) {
			for i := range s {
				s[i].Store(1)
			}
		},
		"the index is a value":             func(m mapping, _ []atomic.Uint64) { m.Header.Index.StoreBytes(m.found("n").Start) },
		"the index is no record":           func(m mapping, _ []atomic.Uint64) { m.Header.Index.StoreBytes(format.HeaderSize + format.Line) },
		"the index is beyond what is used": func(m mapping, _ []atomic.Uint64) { m.Header.Index.StoreBytes(m.used()) },
		"the index is no number":           func(m mapping, _ []atomic.Uint64) { m.Header.Index.Word.Add(1) },
		"indexed is no number":             func(m mapping, _ []atomic.Uint64) { m.Header.Indexed.Word.Add(1) },
		"indexed is within a record":       func(m mapping, _ []atomic.Uint64) { m.Header.Indexed.StoreBytes(m.used() - format.Line) },
		"values is no number":              func(m mapping, _ []atomic.Uint64) { m.Header.Values.Word.Add(1) },
	} {
		doing(what)
		m := newMapping(t)
		m.added(number("n"))
		knew := m.again(false)
		knew.found("n")
		spoil(m, m.slots())
		o := mapping{m.Segment, new(Directory), t}
		o.Init(&m.Region, m.Header, m.owner, Home{home, false})
		for _, o := range []mapping{knew, o} {
			if r, err := o.find("x"); r != nil || err != nil && !m.isPath(err, errs.Format) {
				t.Errorf("%s: find: %v, %v", what, r, err)
			}
			if r, err := o.add(number("x"), nil); (r == nil) != (err != nil) || err != nil && !errors.Is(err, errs.Format) && !errors.Is(err, errs.Full) {
				t.Errorf("%s: add: %v, %v", what, r, err)
			}
			if all := o.all(); len(all) == 0 {
				t.Errorf("%s: there is no value in the list", what)
			}
		}
	}
}

// A process that dies between publishing a record and entering it in the index leaves
// it to readers who look behind the index, and to whoever adds next.
func TestRecordsBehindTheIndex(t *testing.T) {
	type one struct{ A int64 }
	type two struct{ A, B int64 }
	m := newMapping(t)
	own := m.added(published[one]("s"))
	m.publish(number("late"), 8, 0)
	grown := *published[two]("s")
	grown.Kind = format.KindGrowth
	m.publish(&grown, own.Capacity, own.Start)
	m.publish(number("later"), 8, 0)
	ro := m.again(true)
	for _, name := range []string{"late", "later"} {
		ro.found(name)
	}
	if got := len(ro.all()); got != 3 {
		t.Errorf("%d values are listed", got)
	}
	if end, _ := m.indexed(); end != own.Data+own.DataSize(own.Capacity) {
		t.Fatalf("up to %d of %d bytes are indexed", end, m.used())
	}
	m.added(number("next"))
	m.mustBeIndexed("after the next value")
	if r := m.again(true).found("s"); r.Layout.Size != 16 || r.Data != own.Data {
		t.Errorf("the struct has grown into %+v", r)
	}
}

// A name that was found once is always found, whatever others add meanwhile.
func TestFoundOnceFoundAlways(t *testing.T) {
	m := newMapping(t)
	p := shmtest.Start(t, peer, m.Path)
	const n = 2000
	for i := range n {
		p.Say(fmt.Sprint("add ", i, " 8"))
	}
	ro := m.again(true)
	seen := 0
	for seen < n {
		if r := shmtest.Must(ro.find(strconv.Itoa(seen)))(t); r != nil {
			delete(ro.known, r.Name) // so that it is searched again
			again := shmtest.Must(ro.find(r.Name))(t)
			if again == nil {
				t.Fatalf("%q was found, and then not", r.Name)
			}
			seen++
		}
	}
	for range n {
		p.Next()
	}
	p.Wait()
}
