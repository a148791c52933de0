//go:build linux

package directory

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
)

type shorter struct{ A int64 }

type longer struct{ A, B int64 }

type longest struct{ A, B, C int64 }

// grownTwice adds a struct and grows it twice. It returns the struct's own record.
func (m mapping) grownTwice(name string) *format.Record {
	m.t.Helper()
	own := m.added(published[shorter](name))
	m.added(published[longer](name))
	m.added(published[longest](name))
	return own
}

// slotOf returns the slot of a name.
func (m mapping) slotOf(name string) *atomic.Uint64 {
	m.t.Helper()
	d := mapped(m.t, m.Segment)
	if err := d.Check(m.File); err != nil {
		m.t.Fatal(err)
	}
	at, r, err := d.search(m.File, d.table, name)
	if err != nil || r == nil {
		m.t.Fatalf("%q: %v, %v", name, r, err)
	}
	return at
}

// A slot that is lost, leads elsewhere or is there twice hides a value or shows it twice.
// A lookup cannot tell, so CheckAll does.
func TestCheckAllFindsIndexDamage(t *testing.T) {
	freeSlot := func(m mapping) *atomic.Uint64 {
		s := m.slots()
		for i := range s {
			if s[i].Load() == 0 {
				return &s[i]
			}
		}
		m.t.Fatal("no slot is free")
		return nil
	}
	// next returns the slot behind another, after the last one the first.
	next := func(m mapping, at *atomic.Uint64) *atomic.Uint64 {
		s := m.slots()
		for i := range s {
			if &s[i] == at {
				return &s[(i+1)%len(s)]
			}
		}
		m.t.Fatal("it is no slot of the index")
		return nil
	}
	for what, c := range map[string]struct {
		spoil func(m mapping)
		want  string // part of the error; "" if it is that of a lookup
	}{
		"a slot is lost":             {func(m mapping) { m.slotOf("n").Store(0) }, `no slot leads to "n"`},
		"a bit of a tag has changed": {func(m mapping) { m.slotOf("n").Add(1 << 50) }, `no slot leads to "n"`},
		"a slot leads to another value": {func(m mapping) {
			m.slotOf("n").Store(uint64(format.MakeSlot(format.Tag("n"), m.found("o").Start)))
		}, `no slot leads to "n"`},
		"a slot leads into a value": {func(m mapping) { m.slotOf("n").Add(1) }, `no slot leads to "n"`},
		"a slot leads to what the name was": {func(m mapping) {
			m.slotOf("s").Store(uint64(format.MakeSlot(format.Tag("s"), m.found("s").Start)))
		}, "a newer record"},
		"a slot was moved where no search comes": {func(m mapping) {
			from := m.slotOf("n")
			to := next(m, next(m, from))
			to.Store(from.Swap(0))
		}, "no search reaches"},
		"two slots are equal":  {func(m mapping) { next(m, m.slotOf("n")).Store(m.slotOf("n").Load()) }, "two slots lead to byte"},
		"a slot leads nowhere": {func(m mapping) { freeSlot(m).Store(uint64(format.MakeSlot(0, m.used()))) }, ""},
		"a slot leads to an index": {func(m mapping) {
			next(m, m.slotOf("n")).Store(uint64(format.MakeSlot(format.Tag(""), format.HeaderSize)))
		}, ""},
		"a slot leads to a struct that grew": {func(m mapping) {
			next(m, m.slotOf("s")).Store(uint64(format.MakeSlot(format.Tag("s"), m.found("s").Start)))
		}, `two slots lead to "s"`},
		"no slot is free":                     {fill, "is free"},
		"a name is lost, and made once more":  {func(m mapping) { m.slotOf("n").Store(0); delete(m.known, "n"); m.added(number("n")) }, `no slot leads to "n"`},
		"a name is there twice, and both led": {twice, `"n" is there twice`},
		"values counts too few":               {func(m mapping) { m.Header.Values.Store(2) }, "counts 2 names"},
		"values counts too many":              {func(m mapping) { m.Header.Values.Store(4) }, "counts 4 names"},
		"values is no number":                 {func(m mapping) { m.Header.Values.Word.Add(1) }, "the number of values"},
		"indexed is no number":                {func(m mapping) { m.Header.Indexed.Word.Add(1) }, "the indexed size"},
		"indexed is within a record":          {func(m mapping) { m.Header.Indexed.StoreBytes(m.used() - format.Line) }, "none ends there"},
		"indexed is beyond what is used":      {func(m mapping) { m.Header.Indexed.StoreBytes(m.used() + format.Line) }, "none ends there"},
		"the index is an old one": {func(m mapping) {
			for i := range format.IndexSlots {
				m.added(number(strconv.Itoa(i)))
			}
			m.Header.Index.StoreBytes(format.HeaderSize)
		}, "no slot leads to"},
		"the index is a value": {func(m mapping) { m.Header.Index.StoreBytes(m.found("n").Start) }, "it is no index"},
	} {
		m := newMapping(t)
		m.added(number("n"))
		m.added(number("o"))
		m.grownTwice("s")
		sound := m.again(true)
		if err := sound.CheckAll(m.File); err != nil {
			t.Fatalf("%s: before: %v", what, err)
		}
		c.spoil(m)
		for _, o := range []mapping{m, sound, m.again(true)} {
			if err := o.CheckAll(m.File); !errors.Is(err, errs.Format) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}

// fill leaves no slot free.
func fill(m mapping) {
	s := m.slots()
	for i := range s {
		s[i].CompareAndSwap(0, 1)
	}
}

// twice publishes a second value of a name, and makes the index have both.
func twice(m mapping) {
	start := m.used()
	m.publish(number("n"), 8, 0)
	s := m.slots()
	for i := format.Tag("n"); ; i++ {
		if s[i%uint64(len(s))].CompareAndSwap(0, uint64(format.MakeSlot(format.Tag("n"), start))) {
			break
		}
	}
	m.Header.Values.Store(4)
	m.Header.Indexed.StoreBytes(m.used())
}

// What a process leaves that dies while it adds a value, makes a larger index or puts the
// index in order, is no damage.
func TestCheckAllOfWhatTheDeadLeave(t *testing.T) {
	m := newMapping(t)
	own := m.grownTwice("s")
	check := func(when string) {
		t.Helper()
		for _, o := range []mapping{m, m.again(true)} {
			if err := o.CheckAll(m.File); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
	}
	enter := func(name string, start int64) {
		s := m.slots()
		for i := format.Tag(name); ; i++ {
			if s[i%uint64(len(s))].CompareAndSwap(0, uint64(format.MakeSlot(format.Tag(name), start))) {
				return
			}
		}
	}
	check("a sound segment")
	start := m.used()
	m.publish(number("late"), 8, 0)
	check("a record is published")
	enter("late", start)
	check("its slot is stored")
	m.Header.Values.Store(2)
	check("it is counted")
	start = m.used()
	grown := *published[struct{ A, B, C, D int64 }]("s")
	grown.Kind = format.KindGrowth
	m.publish(&grown, own.Capacity, own.Start)
	m.slotOf("s").Store(uint64(format.MakeSlot(format.Tag("s"), start)))
	check("a struct has grown")
	if err := m.locked(func() error { return m.grow(m.File, m.used()+4*format.FirstAllocation) }); err != nil {
		t.Fatal(err)
	}
	larger := &format.Shape{Access: format.Raw, Kind: format.KindIndex, Count: 2 * format.IndexSlots}
	m.publish(larger, larger.Room(), 0)
	check("a larger index is published")
	m.added(number("next"))
	m.mustBeIndexed("after the next value")
	check("the next value is added")
	s := m.slots()
	m.Header.Indexed.StoreBytes(format.HeaderSize)
	check("the index is to be made anew")
	for i := range s {
		s[i].Store(0)
	}
	check("its slots are cleared")
	m.Header.Values.Store(0)
	check("its names are not counted")
	m.added(number("last"))
	m.mustBeIndexed("after the last value")
	check("the index is made anew")
}

// Processes that add values, grow structs and make larger indexes disturb no check.
func TestCheckAllBesideWriters(t *testing.T) {
	length := 2 * time.Second
	if testing.Short() {
		length /= 4
	}
	m := newMapping(t)
	p := shmtest.Start(t, peer, m.Path)
	var stop atomic.Bool
	done := make(chan error)
	checks := make([]int, 2)
	for i, readOnly := range []bool{true, false} {
		o := m.again(readOnly)
		go func() {
			var err error
			for err == nil && (checks[i] == 0 || !stop.Load()) {
				err = o.CheckAll(m.File)
				checks[i]++
			}
			done <- err
		}()
	}
	names := 0
	for end := time.Now().Add(length); time.Now().Before(end) || len(m.slots()) == format.IndexSlots; names += 2 {
		p.Say(fmt.Sprint("add ", names, " 8")) // another process
		m.grownTwice(fmt.Sprint("s", names))
		p.Next()
	}
	stop.Store(true)
	for range checks {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err := m.CheckAll(m.File); err != nil || len(m.all()) != names {
		t.Errorf("%d values of %d: %v", len(m.all()), names, err)
	}
	t.Logf("%d names in %d slots, and %v checks", names, len(m.slots()), checks)
}

// A segment that was copied while it changed is damaged, until a process attaches for writing.
func TestCheckAllOfACopy(t *testing.T) {
	m, _ := filled(t)
	m.slotOf("value7").Store(0)
	m.away()
	if err := m.again(true).CheckAll(m.File); !errors.Is(err, errs.Format) || !strings.Contains(err.Error(), "makes the index anew") {
		t.Errorf("a copy: %v", err)
	}
	if err := m.again(false).CheckAll(m.File); err != nil {
		t.Errorf("after a process has attached: %v", err)
	}
}
