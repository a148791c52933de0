//go:build linux

package directory

import (
	"bytes"
	"os"
	"runtime"
	"slices"
	"testing"

	"example.org/shm/internal/format"
	"example.org/shm/internal/layout"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// asker returns a process that may only read, and what it calls to ask with a byte.
func (m mapping) asker() (ro mapping, ask, withdraw func(at int64)) {
	m.t.Helper()
	ro = m.again(true)
	key, _, err := sys.Identify(ro.File, ro.Path)
	if err != nil {
		m.t.Fatal(err)
	}
	ro.owner.Remember(key)
	ro.owner.Attached(ro.File)
	return ro, ro.owner.Ask, ro.owner.Withdraw
}

// awaited reports whether a process is announced in the word at an offset.
func (m mapping) awaited(off int64) bool {
	return mem.At[format.ChangeWord](&m.Region, off).Word.Load()&format.Awaited != 0
}

// Whoever asks is announced: for a name, and for each kind of value with a lock.
func TestAnswer(t *testing.T) {
	shmtest.NeedLinux(t, "way for a reader to ask")
	m := newMapping(t)
	l := shmtest.Must(layout.Of[struct{ A int32 }]())(t)
	longer := shmtest.Must(layout.Of[struct{ A, B int32 }]())(t)
	n := shmtest.Must(layout.Of[int64]())(t)
	m.added(&format.Shape{Label: format.Label{Name: "value"}, Layout: n, Access: format.Locked, Kind: format.KindSingle})
	m.added(&format.Shape{Label: format.Label{Name: "array"}, Layout: n, Access: format.Locked, Kind: format.KindArray, Count: 9})
	m.added(&format.Shape{Label: format.Label{Name: "mutex"}, Access: format.Locked, Kind: format.KindMutex})
	m.added(&format.Shape{Label: format.Label{Name: "grown"}, Layout: l, Access: format.Published, Kind: format.KindSingle})
	m.added(&format.Shape{Label: format.Label{Name: "grown"}, Layout: longer, Access: format.Published, Kind: format.KindSingle})
	m.added(&format.Shape{Label: format.Label{Name: "mutexes"}, Access: format.Locked, Kind: format.KindMutex, Count: 3})
	m.added(&format.Shape{Label: format.Label{Name: "table"}, Layout: l, Access: format.Published, Kind: format.KindArray, Count: 3})
	ro, ask, withdraw := m.asker()
	m.owner.Attached(m.File)
	for _, name := range []string{"value", "array", "mutex", "grown", "mutexes", "table"} {
		r := ro.found(name)
		for off := range r.Locks {
			start, ok := ro.Record("", off)
			if !ok || start != r.Start {
				t.Fatalf("%s: its record is at %d, %v; want %d", name, start, ok, r.Start)
			}
			at, ok := format.AskByte(start, off)
			if !ok {
				t.Fatalf("%s: nobody can ask", name)
			}
			m.Answer()
			if m.awaited(off + 4) {
				t.Errorf("%s: somebody is announced who has not asked", name)
			}
			ask(at)
			m.Answer()
			if !m.awaited(off + 4) {
				t.Errorf("%s: nobody is announced at %d", name, off)
			}
			withdraw(at)
		}
	}
	ask(format.AskBase)
	m.Answer()
	if m.Header.Names.Word.Load()&format.Awaited == 0 {
		t.Error("nobody is announced who awaits a name")
	}
	if _, ok := ro.Record("value", ro.found("value").Data+format.Line); ok {
		t.Error("there is a record for what is no cell")
	}
}

// Whoever asks for what is no change word makes nobody write there: not in the data of
// a value, even if they look like a record, nor anywhere else.
func TestAnswerWritesChangeWordsOnly(t *testing.T) {
	shmtest.NeedLinux(t, "way for a reader to ask")
	m := newMapping(t)
	n := shmtest.Must(layout.Of[int64]())(t)
	locked := format.Shape{Label: format.Label{Name: "locked"}, Layout: n, Access: format.Locked, Kind: format.KindSingle}
	raw := m.added(&format.Shape{Label: format.Label{Name: "raw"}, Layout: n, Access: format.Raw, Kind: format.KindArray, Count: 1000})
	m.added(&locked)
	other := locked
	other.Name = "other"
	for i, s := range []*format.Shape{&locked, &other} { // records, to the last byte
		meta, _ := s.Encode(s.Room(), format.Maker{}, 0)
		copy(mem.Slice[byte](&m.Region, raw.Data+int64(i)*10*format.Line, len(meta)), meta)
	}
	_, ask, withdraw := m.asker()
	m.owner.Attached(m.File)
	before := slices.Clone(m.Bytes[:m.used()])
	for record := int64(format.HeaderSize); record < m.used()+2*format.Line; record += format.Line {
		var asked []int64
		for cell := record; cell < record+5*format.Line; cell += format.Line {
			if at, ok := format.AskByte(record, cell); ok && cell != m.found("locked").Data {
				ask(at)
				asked = append(asked, at)
			}
		}
		m.Answer()
		for _, at := range asked {
			withdraw(at)
		}
	}
	if !bytes.Equal(before, m.Bytes[:len(before)]) {
		t.Error("something was changed")
	}
	r := m.found("locked")
	at, _ := format.AskByte(r.Start, r.Data)
	ask(at)
	if m.Answer(); !m.awaited(r.Data + 4) {
		t.Error("nobody is announced where somebody may ask")
	}
}

// However many ask, all are answered in the end, and no call looks at all of them.
func TestAnswerMany(t *testing.T) {
	shmtest.NeedLinux(t, "way for a reader to ask")
	m := newMapping(t)
	n := shmtest.Must(layout.Of[int64]())(t)
	_, ask, _ := m.asker()
	m.owner.Attached(m.File)
	var cells []int64
	for i := range 300 {
		r := m.added(&format.Shape{Label: format.Label{Name: string(rune('a'+i%26)) + string(rune('a'+i/26))}, Layout: n, Access: format.Locked, Kind: format.KindSingle})
		at, _ := format.AskByte(r.Start, r.Data)
		ask(at)
		cells = append(cells, r.Data)
	}
	announced := func() (n int) {
		for _, c := range cells {
			if m.awaited(c + 4) {
				n++
			}
		}
		return n
	}
	m.Answer()
	if n := announced(); n == 0 || n > 64 {
		t.Errorf("one call has announced %d", n)
	}
	for range 40 {
		m.Answer()
	}
	if n := announced(); n != len(cells) {
		t.Errorf("%d of %d are announced", n, len(cells))
	}
}

// A process with nothing but open segments answers as long as one of them is open.
func TestAnswerAfterAClose(t *testing.T) {
	shmtest.NeedLinux(t, "way for a reader to ask")
	m := newMapping(t)
	n := shmtest.Must(layout.Of[int64]())(t)
	r := m.added(&format.Shape{Label: format.Label{Name: "n"}, Layout: n, Access: format.Locked, Kind: format.KindSingle})
	_, ask, _ := m.asker()
	at, _ := format.AskByte(r.Start, r.Data)
	ask(at)
	other := m.again(false)
	closed := shmtest.Must(os.Open(m.Path))(t)
	other.owner.Attached(closed)
	other.owner.Attached(other.File)
	other.owner.Detached(closed)
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	if other.Answer(); !m.awaited(r.Data + 4) {
		t.Error("nobody is announced")
	}
	runtime.KeepAlive(closed)
}
