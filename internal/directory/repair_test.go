//go:build linux

package directory

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// away makes a segment look as another boot of the system has left it.
func (m mapping) away() { m.Header.Home.Store(home + 2) }

// unfit returns why the sizes in the header do not fit each other, as the root
// package finds out.
func (m mapping) unfit() error {
	m.t.Helper()
	size := shmtest.Must(sys.FileSize(m.File, m.Path))(m.t)
	return shmtest.Must(format.CheckHeader(m.Bytes[:format.TableOffset], size))(m.t).Unfit
}

// filled returns a segment with values, of which the first number are what was synced
// before the power failed.
func filled(t *testing.T) (m mapping, synced int) {
	m = newMapping(t)
	const n = 40
	for i := range n {
		m.added(number(fmt.Sprint("value", i)))
	}
	return m, n
}

// Whatever order the pages of the header, of the records and of the index reach the
// disk in: what was there before is found, and the segment goes on.
func TestPowerFailure(t *testing.T) {
	for what, fail := range map[string]func(m mapping, before *format.Header, end int64){
		"nothing was lost":    func(mapping, *format.Header, int64) {},
		"the records are not": func(m mapping, _ *format.Header, end int64) { clear(m.Bytes[end:m.used()]) },
		"the header is old": func(m mapping, before *format.Header, _ int64) {
			h := m.Header
			h.Used.Word.Store(before.Used.Word.Load())
			h.Indexed.Word.Store(before.Indexed.Word.Load())
			h.Values.Word.Store(before.Values.Word.Load())
			h.Allocated.Word.Store(before.Allocated.Word.Load())
			h.Dirty.Word.Store(before.Dirty.Word.Load())
			h.Index.Word.Store(before.Index.Word.Load())
			h.NextID.Word.Store(before.NextID.Word.Load())
		},
		"the file is short": func(m mapping, before *format.Header, _ int64) {
			allocated, _ := before.Allocated.Bytes()
			if err := os.Truncate(m.Path, allocated); err != nil {
				t.Error(err)
			}
		},
		"the slots are not": func(m mapping, _ *format.Header, _ int64) {
			s := m.slots()
			for i := range s {
				s[i].Store(0)
			}
		},
		"the second index is not": func(m mapping, _ *format.Header, _ int64) {
			start, _ := m.Header.Index.Bytes()
			clear(m.Bytes[start : start+format.RecordFixed])
		},
		"one line of the records is not": func(m mapping, _ *format.Header, end int64) { clear(m.Bytes[end+10*format.Line : end+11*format.Line]) },
		"used is beyond what is allocated": func(m mapping, before *format.Header, _ int64) {
			m.Header.Allocated.Word.Store(before.Allocated.Word.Load())
		},
		"indexed and dirty are beyond what is used": func(m mapping, before *format.Header, _ int64) {
			m.Header.Used.Word.Store(before.Used.Word.Load())
		},
	} {
		m, synced := filled(t)
		var before format.Header
		for _, w := range []struct{ to, from *format.Sealed }{
			{&before.Used, &m.Header.Used}, {&before.Indexed, &m.Header.Indexed}, {&before.Values, &m.Header.Values},
			{&before.Allocated, &m.Header.Allocated}, {&before.Dirty, &m.Header.Dirty}, {&before.Index, &m.Header.Index}, {&before.NextID, &m.Header.NextID},
		} {
			w.to.Word.Store(w.from.Word.Load())
		}
		end := m.used()
		for i := range 600 {
			m.added(number(fmt.Sprint("lost", i)))
		}
		m.away()
		fail(m, &before, end)
		o := mapping{m.Segment, new(Directory), t}
		o.Init(&m.Region, m.Header, m.owner, Home{home, false})
		if err := o.attach(o.unfit()); err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got, _ := m.Header.Home.Load(); got != home {
			t.Errorf("%s: the home is %d", what, got)
		}
		for i := range synced {
			o.found(fmt.Sprint("value", i))
		}
		o.mustBeIndexed(what)
		zero := o.added(array("fresh", 50_000))
		if i := strings.IndexFunc(string(o.data(zero)), func(c rune) bool { return c != 0 }); i >= 0 {
			t.Errorf("%s: byte %d of a new value is not zero", what, i)
		}
		o.mustBeIndexed(what + ", after another value")
		if err := o.unfit(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A copy of a segment from a system with smaller pages loses nothing.
func TestRepairWithLargerPages(t *testing.T) {
	m, n := filled(t)
	for i := range 300 { // so that the file does not end with a page
		m.added(number(fmt.Sprint("more", i)))
	}
	end := m.used()
	if err := os.Truncate(m.Path, end); err != nil {
		t.Fatal(err)
	}
	m.Header.Allocated.StoreBytes(end)
	m.away()
	defer func(page int64) { sys.PageSize = page }(sys.PageSize)
	sys.PageSize = 64 << 10
	o := mapping{m.Segment, new(Directory), t}
	o.Init(&m.Region, m.Header, m.owner, Home{home, false})
	if err := o.attach(o.unfit()); err != nil {
		t.Fatal(err)
	}
	if got := len(o.all()); got != n+300 || o.used() != end {
		t.Errorf("%d values in %d bytes are left, of %d in %d", got, o.used(), n+300, end)
	}
}

// A process that may not repair gets an error, and changes nothing.
func TestUnfitAtHome(t *testing.T) {
	m, _ := filled(t)
	m.Header.Indexed.StoreBytes(m.used() + format.Line)
	unfit := m.unfit()
	if err := m.attach(unfit); unfit == nil || !m.isPath(err, errs.Format) {
		t.Errorf("at home: %v, %v", unfit, err)
	}
	m.away()
	other := shmtest.Opened(sys.Reopen(m.File, m.Path))(t)
	if got, err := sys.TryLock(other, format.LeaseBase+7); !got {
		t.Fatal(err)
	}
	if err := m.attach(unfit); !m.isPath(err, errs.Format) {
		t.Errorf("while a process uses it: %v", err)
	}
}

// A file in which no record of an index is left is damaged.
func TestNoIndexLeft(t *testing.T) {
	m, _ := filled(t)
	m.Bytes[format.HeaderSize] ^= 1
	m.away()
	if err := m.attach(nil); !m.isPath(err, errs.Format) {
		t.Errorf("%v", err)
	}
}

// Attaching does not wait for who keeps the allocation lock, which a process that may
// only read the file can do: no id is given out twice, and the rest is left to the
// next one.
func TestAttachBesideWhoKeepsTheLock(t *testing.T) {
	m, _ := filled(t)
	locked := m.added(&format.Shape{Access: format.Locked, Kind: format.KindMutex, Label: format.Label{Name: "mutex"}})
	mem.At[format.LockCell](&m.Region, locked.Data).Word.Store(77)
	m.Header.NextID.Store(5)
	m.away()
	other := shmtest.Opened(sys.Reopen(m.File, m.Path))(t)
	if got, err := sys.TryLock(other, format.AllocationByte); !got {
		t.Fatal(err)
	}
	o := mapping{m.Segment, new(Directory), t}
	o.Init(&m.Region, m.Header, m.owner, Home{home, false})
	if err := o.attach(nil); err != nil {
		t.Fatal(err)
	}
	o.found("value7")
	if n, _ := m.Header.NextID.Load(); n != 78 {
		t.Errorf("the next id is %d", n)
	}
	if got, _ := m.Header.Home.Load(); got == home {
		t.Error("the home has changed without the allocation lock")
	}
	sys.Unlock(other, format.AllocationByte)
	o.added(number("more"))
	if got, _ := m.Header.Home.Load(); got != home {
		t.Error("who adds a value does not put the file in order")
	}
	o.mustBeIndexed("after another value")
}

// Who has found values does not cut the directory back, even if it is damaged.
func TestNoCutBelowHandles(t *testing.T) {
	m, _ := filled(t)
	used := m.used()
	m.found("value0")
	m.found("value39")
	m.Bytes[m.found("value20").Start] ^= 1
	m.away()
	for range 2 {
		if _, err := m.add(number("more"), nil); !m.isPath(err, errs.Format) || m.used() != used {
			t.Fatalf("%v; %d bytes of %d are used", err, m.used(), used)
		}
	}
	m.found("value39")
	if o := m.again(false); o.used() == used || shmtest.Must(o.find("value39"))(t) != nil {
		t.Error("who comes anew does not cut it back")
	}
}

// A segment that processes use, in a container with another boot id, stays as it is.
func TestAwayAndInUse(t *testing.T) {
	m, _ := filled(t)
	o := m.again(false)
	if err := o.owner.Take(o.File); err != nil || !o.owner.AnyHeld(m.File) {
		t.Fatal(err)
	}
	m.away()
	word := m.Header.Home.Word.Load()
	if err := m.attach(nil); err != nil {
		t.Fatal(err)
	}
	m.added(number("more"))
	if m.Header.Home.Word.Load() != word {
		t.Error("the home has changed")
	}
}

// What a process has reserved and not counted before it died is given back.
func TestReservationIsGivenBack(t *testing.T) {
	shmtest.NeedLinux(t, "way to give back memory that a dead process has reserved")
	m := newMapping(t)
	allocated, _ := m.Header.Allocated.Bytes()
	if err := sys.Reserve(m.File, m.Path, allocated, 3<<20); err != nil {
		t.Fatal(err)
	}
	m.added(array("a", 100_000))
	blocks := shmtest.Must(os.Stat(m.Path))(t).Sys().(*syscall.Stat_t).Blocks * 512
	if after, _ := m.Header.Allocated.Bytes(); blocks > after+1<<20 {
		t.Errorf("%d bytes are allocated, and the file has %d on its filesystem", after, blocks)
	}
}

// No more is reserved than the segment may have, although a page may be larger.
func TestNoMoreThanMaxSize(t *testing.T) {
	m := newMapping(t)
	m.Bytes = m.Bytes[:1<<20+format.Line] // no multiple of a page
	limit := int64(len(m.Bytes))
	for {
		if _, err := m.add(array(fmt.Sprint(m.used()), 10_000), nil); err != nil {
			if !errors.Is(err, errs.Full) {
				t.Fatal(err)
			}
			break
		}
	}
	if size := shmtest.Must(sys.FileSize(m.File, m.Path))(t); size > limit {
		t.Errorf("the file has %d bytes of at most %d", size, limit)
	}
}
