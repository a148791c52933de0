//go:build linux

package directory

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// Values get places of their own, in the order of their names' first use, and the
// file has memory for each of them.
func TestAdd(t *testing.T) {
	m := newMapping(t)
	type point struct{ X, Y int32 }
	shapes := []*format.Shape{
		number("number"), array("array", 70), array("big", 1<<17), published[point]("struct"),
		{Access: format.Locked, Kind: format.KindMutex, Label: format.Label{Name: "mutex"}},
		{Layout: of[int32](), Count: 9, Access: format.Locked, Kind: format.KindArray, Label: format.Label{Name: "locked", Unit: "m", Help: "a help text"}},
	}
	end := m.used()
	for i, want := range shapes {
		calls := 0
		r, err := m.add(want, func(r *format.Record) {
			calls++
			if b := m.data(r); slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) {
				t.Errorf("%s: init is given memory that is not zero", want.Name)
			}
			m.data(r)[0] = byte(i + 1)
		})
		if err != nil {
			t.Fatal(err)
		}
		if calls != 1 || m.data(r)[0] != byte(i+1) {
			t.Errorf("%s: %d calls of init; what it wrote is %d", want.Name, calls, m.data(r)[0])
		}
		if r.Start != end || r.Label != want.Label || r.Kind != want.Kind || r.Access != want.Access || r.Count != want.Count || r.Capacity != want.Room() {
			t.Errorf("%s: the record is %+v", want.Name, r)
		}
		if r.Pid != int32(os.Getpid()) || r.Program != sys.Program()[:min(format.RecordFixed-72, len(sys.Program()))] {
			t.Errorf("%s: its maker is %+v", want.Name, r.Maker)
		}
		if r.Data < end+format.RecordFixed || r.Data%format.Line != 0 || r.Data+r.DataSize(r.Capacity) != m.used() {
			t.Errorf("%s: its data are at %d, after %d, and %d bytes are used", want.Name, r.Data, end, m.used())
		}
		end = m.used()
		allocated, ok := m.Header.Allocated.Bytes()
		if size, err := sys.FileSize(m.File, m.Path); !ok || allocated < end || size < allocated || err != nil {
			t.Errorf("%s: of %d used bytes %d are allocated, and the file has %d; %v", want.Name, end, allocated, size, err)
		}
		if all := m.all(); m.found(want.Name) != r || len(all) != i+1 || describe(all[i]) != describe(r) {
			t.Errorf("%s: the directory does not have the record", want.Name)
		}
	}
	for i, want := range shapes {
		r, err := m.add(want, func(*format.Record) { t.Errorf("%s: init of a value that exists", want.Name) })
		if err != nil || r != m.found(want.Name) || m.used() != end || m.data(r)[0] != byte(i+1) {
			t.Errorf("%s: added again: %v, %v", want.Name, r, err)
		}
	}
	// Whatever the other shape is: the caller compares.
	if r, err := m.add(array("number", 5), nil); err != nil || r != m.found("number") || m.used() != end {
		t.Errorf("another shape of a name that exists: %v, %v", r, err)
	}
}

func TestAddOfWhatCannotBe(t *testing.T) {
	m := newMapping(t)
	empty := m.used()
	long := number("long")
	long.Help = strings.Repeat("x", format.MaxHelp+1)
	for what, want := range map[string]*format.Shape{
		"no name": number(""), "a long name": number(strings.Repeat("x", format.MaxName+1)), "a line": number("a\nb"),
		"no text": number("\xff"), "a negative length": array("a", -1), "too many elements": array("a", 1<<62), "a long help text": long,
	} {
		r, err := m.add(want, func(*format.Record) { t.Errorf("%s: init is called", what) })
		if !errors.Is(err, fs.ErrInvalid) || r != nil {
			t.Errorf("%s: %v, %v", what, r, err)
		}
	}
	if m.used() != empty || len(m.all()) != 0 {
		t.Error("something was added")
	}
}

// A value can be found once init has returned, and not before. Until then nobody
// else may add.
func TestAddPublishesWhatInitWrote(t *testing.T) {
	m := newMapping(t)
	other := m.again(false)
	isFree := func() bool { return shmtest.Must(sys.TryLock(other.File, format.AllocationByte))(t) }
	r, err := m.add(number("n"), func(r *format.Record) {
		m.data(r)[0] = 5
		if isFree() {
			t.Error("in init the allocation lock is free")
		}
		if early, err := other.find("n"); early != nil || err != nil {
			t.Errorf("in init: %v, %v", early, err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if !isFree() {
		t.Error("after Add the allocation lock is not free")
	}
	if late := other.found("n"); describe(late) != describe(r) || other.data(late)[0] != 5 {
		t.Errorf("%v, want %v", late, r)
	}
}

// Of all who add a value at the same time one makes it, and all get that one.
func TestAddAtTheSameTime(t *testing.T) {
	const goroutines, names = 8, 50
	m := newMapping(t)
	mappings := []mapping{m, m.again(false), m.again(false)}
	var made [names]atomic.Int32
	var places [names]sync.Map
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range names {
				r, err := mappings[g%len(mappings)].add(number(fmt.Sprint(i)), func(*format.Record) { made[i].Add(1) })
				if err != nil {
					t.Error(err)
					return
				}
				places[i].Store(describe(r), nil)
			}
		})
	}
	wg.Wait()
	for i := range names {
		n := 0
		places[i].Range(func(any, any) bool { n++; return true })
		if made[i].Load() != 1 || n != 1 {
			t.Errorf("value %d was made %d times, in %d places", i, made[i].Load(), n)
		}
	}
	for _, m := range mappings {
		if got := m.allNames(); len(got) != names {
			t.Errorf("a mapping has %d values", len(got))
		}
	}
}

// A process that dies while it adds a value leaves nothing, and the next one clears
// what it wrote.
func TestWriterThatDies(t *testing.T) {
	m := newMapping(t)
	m.added(number("first"))
	used := m.used()
	p := shmtest.Start(t, peer, m.Path)
	p.Say("die gone 100000")
	if line, ok := p.Next(); ok {
		t.Fatal(line)
	}
	p.Kill()
	dirty, ok := m.Header.Dirty.Bytes()
	if !ok || dirty < used+100000 || m.used() != used {
		t.Fatalf("up to byte %d may be dirty, and %d are used", dirty, m.used())
	}
	end := dirty
	above := func(off int64) []byte { return m.Bytes[off:end] }
	if !slices.Contains(above(used), 0xff) {
		t.Fatal("it wrote nothing")
	}
	if r, err := m.find("gone"); r != nil || err != nil {
		t.Fatalf("%v, %v", r, err)
	}
	r := m.added(array("small", 10))
	zero := func(b []byte) bool { return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) }
	if !zero(m.data(r)) || !zero(above(m.used())) {
		t.Error("not all that it wrote is cleared")
	}
	if dirty, ok := m.Header.Dirty.Bytes(); !ok || dirty > m.used() {
		t.Errorf("up to byte %d may be dirty still, of %d used", dirty, m.used())
	}
	if names := m.again(false).allNames(); !slices.Equal(names, []string{"first", "small"}) {
		t.Errorf("the values are %q", names)
	}
	// Nor does it harm the next one of that name.
	if r := m.added(array("gone", 100000)); !zero(m.data(r)) {
		t.Error("what it wrote has become a value")
	}
}

// What may be dirty is cleared from the end of what is used on, and nothing else.
func TestWipe(t *testing.T) {
	for _, dirty := range []int64{0, 64, 640, 16 << 10} {
		m := newMapping(t)
		first := m.added(array("first", 64))
		for i := range m.data(first) {
			m.data(first)[i] = 0xff
		}
		used, end := m.used(), int64(format.FirstAllocation)
		for i := used; i < end; i++ {
			m.Bytes[i] = 0xff
		}
		m.Header.Dirty.StoreBytes(used + dirty)
		unlock, err := m.owner.LockAllocation(m.File)
		if err != nil {
			t.Fatal(err)
		}
		err = m.wipe(m.File, used)
		unlock()
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range m.Bytes[first.Data:end] {
			if at := first.Data + int64(i); (c == 0) != (at >= used && at < used+dirty) {
				t.Fatalf("%d dirty bytes after %d: byte %d is %#x", dirty, used, at, c)
			}
		}
	}
}

// A segment takes what fits, to the last byte, and no more.
func TestAddBeyondTheMapping(t *testing.T) {
	m := newMapping(t)
	other := m.again(false)
	rest := func() int64 { return memtest.MaxSize - m.used() - format.RoundUp(format.RecordFixed+int64(len("x<B"))) }
	for range 2 {
		used := m.used()
		r, err := m.add(array("x", rest()+1), func(*format.Record) { t.Error("init is called") })
		if !m.isPath(err, errs.Full) || r != nil || m.used() != used {
			t.Fatalf("%v, %v", r, err)
		}
		m.added(number("small")) // still fits
	}
	r := m.added(array("x", rest()))
	if m.used() != memtest.MaxSize || m.data(r)[r.Capacity-1] != 0 {
		t.Errorf("%d bytes of %d are used", m.used(), memtest.MaxSize)
	}
	if size, err := sys.FileSize(m.File, m.Path); size != memtest.MaxSize || err != nil {
		t.Errorf("the file has %d bytes; %v", size, err)
	}
	for _, m := range []mapping{m, other} {
		if _, err := m.add(number("more"), nil); !m.isPath(err, errs.Full) {
			t.Errorf("in a full segment: %v", err)
		}
		if describe(m.added(array("x", 1))) != describe(r) || describe(m.found("small")) == describe(r) {
			t.Error("in a full segment what exists is not found")
		}
	}
}

// A struct that has grown keeps its place among the values and in memory, in every
// mapping, and who has its old record keeps that.
func TestGrowth(t *testing.T) {
	type one struct{ A int64 }
	type two struct{ A, B int64 }
	type three struct {
		A, B int64
		C    int32
	}
	type other struct{ A, X int64 }
	type huge struct {
		A, B int64
		Z    [100]int64
	}
	m := newMapping(t)
	watcher, ro := m.again(false), m.again(true)
	m.added(number("before"))
	first := published[one]("s")
	first.Unit, first.Help = "m", "a help text"
	old := m.added(first)
	was := *old
	m.added(number("after"))
	m.data(old)[format.LockedOffset] = 7
	if watcher.found("s").Layout.Format != old.Layout.Format {
		t.Fatal("another mapping has another layout")
	}
	is := func(what string, r *format.Record, want *format.Shape) {
		t.Helper()
		if r.Layout.Format != want.Layout.Format || r.Start != old.Start || r.Data != old.Data || r.Capacity != old.Capacity ||
			r.Elements() != old.Elements() || r.Kind != format.KindSingle || r.Access != format.Published || r.Label != first.Label || r.Maker != old.Maker {
			t.Errorf("%s: %+v, before %+v", what, r, was)
		}
	}
	for _, want := range []*format.Shape{published[two]("s"), published[three]("s")} {
		used := m.used()
		r, err := m.add(want, func(*format.Record) { t.Error("init of a value that grows") })
		if err != nil {
			t.Fatal(err)
		}
		is("the one that grows it", r, want)
		if m.used() == used || m.used()-used != format.RoundUp(format.RecordFixed+int64(len("s")+len(want.Layout.Format))) {
			t.Errorf("the record of growth has %d bytes", m.used()-used)
		}
		is("its mapping", m.found("s"), want)
		is("a mapping that knew it", watcher.found("s"), want)
		is("a read-only mapping", ro.found("s"), want)
		is("a new mapping", m.again(false).found("s"), want)
		// Once is enough, and what is shorter changes nothing; nor does what does not
		// extend it, or does not fit: the caller compares.
		used = m.used()
		for _, again := range []*format.Shape{want, first, published[other]("s"), published[huge]("s")} {
			is("again", watcher.added(again), want)
		}
		if m.used() != used {
			t.Error("a record was added for nothing")
		}
	}
	if old.Layout != was.Layout || old.Label != was.Label {
		t.Error("a record has changed")
	}
	for what, m := range map[string]mapping{"its mapping": m, "watcher": watcher, "read-only": ro} {
		if all := m.all(); len(all) != 3 || describe(all[1]) != describe(m.found("s")) || all[1].Layout != m.found("s").Layout || all[2].Name != "after" || m.data(all[1])[format.LockedOffset] != 7 {
			t.Errorf("%s: %d values", what, len(all))
		}
	}
}
