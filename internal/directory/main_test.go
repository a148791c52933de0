//go:build linux

package directory

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/layout"
	"example.org/shm/internal/lease"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
)

func TestMain(m *testing.M) { shmtest.Main(m) }

// mapping is a mapping of a segment with its directory. Its owner has a control of
// its own, so it may stand for another process.
type mapping struct {
	*memtest.Segment
	*Directory
	t shmtest.TB
}

func newMapping(t shmtest.TB) mapping {
	t.Helper()
	return mapped(t, memtest.New(t))
}

// home is where all processes of these tests are.
const home = 12345

// attach is Attach as the root package calls it.
func (m mapping) attach(unfit error) error {
	return m.Guarded(func() error { return m.Attach(m.File, unfit) })
}

// again maps the file once more.
func (m mapping) again(readOnly bool) mapping {
	m.t.Helper()
	return mapped(m.t, memtest.Open(m.t, m.Path, readOnly))
}

func mapped(t shmtest.TB, s *memtest.Segment) mapping {
	owner, d := new(lease.Owner), new(Directory)
	owner.Init(s.Header, new(lease.Control), s.Path, s.ReadOnly)
	owner.ShareAllocation(new(sync.Mutex))
	d.Init(&s.Region, s.Header, owner, Home{home, false})
	memtest.Keep(d)
	m := mapping{s, d, t}
	if !s.ReadOnly {
		if err := m.attach(nil); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// add is Add as the root package calls it.
func (m mapping) add(want *format.Shape, init func(*format.Record)) (r *format.Record, err error) {
	err = m.Guarded(func() (err error) {
		r, err = m.Add(m.File, want, init)
		return err
	})
	return r, err
}

// added is add of what can be added.
func (m mapping) added(want *format.Shape) *format.Record {
	m.t.Helper()
	return shmtest.Must(m.add(want, nil))(m.t)
}

// find is Find as the root package calls it.
func (m mapping) find(name string) (r *format.Record, err error) {
	err = m.Guarded(func() (err error) {
		r, err = m.Find(m.File, name)
		return err
	})
	return r, err
}

// found is find of what can be found.
func (m mapping) found(name string) *format.Record {
	m.t.Helper()
	r := shmtest.Must(m.find(name))(m.t)
	if r == nil {
		m.t.Fatalf("%q is not found", name)
	}
	return r
}

// all returns what All yields.
func (m mapping) all() (all []*format.Record) {
	m.t.Helper()
	for r, err := range m.All(m.File) {
		if err != nil {
			m.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// allNames returns the names of all values.
func (m mapping) allNames() (names []string) {
	m.t.Helper()
	for _, r := range m.all() {
		names = append(names, r.Name)
	}
	return names
}

// used returns how many bytes are used.
func (m mapping) used() int64 {
	m.t.Helper()
	n, ok := m.Header.Used.Bytes()
	if !ok {
		m.t.Fatal("the used size is damaged")
	}
	return n
}

// publish appends a record as a faulty process may do, which asks for no name and
// enters nothing in the index. older is the offset of the struct's own record.
func (m mapping) publish(s *format.Shape, capacity, older int64) {
	m.t.Helper()
	meta, size := s.Encode(capacity, format.Maker{}, older)
	off := m.used()
	copy(mem.Slice[byte](&m.Region, off, len(meta)), meta)
	m.Header.Used.StoreBytes(off + size)
}

// data returns the bytes of a value, with its lock.
func (m mapping) data(r *format.Record) []byte {
	return mem.Slice[byte](&m.Region, r.Data, int(r.DataSize(r.Capacity)))
}

// of returns the layout of a type that can be shared.
func of[T any]() *layout.Layout {
	l, err := layout.Of[T]()
	if err != nil {
		panic(err)
	}
	return l
}

// number is the shape of a raw number.
func number(name string) *format.Shape {
	return &format.Shape{Layout: of[int64](), Access: format.Raw, Kind: format.KindSingle, Label: format.Label{Name: name}}
}

// array is the shape of n raw bytes.
func array(name string, n int64) *format.Shape {
	return &format.Shape{Layout: of[byte](), Count: n, Access: format.Raw, Kind: format.KindArray, Label: format.Label{Name: name}}
}

// published is the shape of a struct that changes as a whole.
func published[T any](name string) *format.Shape {
	return &format.Shape{Layout: of[T](), Access: format.Published, Kind: format.KindSingle, Label: format.Label{Name: name}}
}

// peer is a process that does what it is told:
//
//	add NAME N  add N bytes
//	find NAME   say which value it is, where, and how large, or that there is none
//	die NAME N  add N bytes, and end after all of them are 0xff but before they are published
var peer = shmtest.Helper("peer", func(args []string) error {
	m := mapped(shmtest.InHelper, memtest.Open(shmtest.InHelper, args[0], false))
	return shmtest.Replies(func(words []string) (string, error) {
		if words[0] == "find" {
			r, err := m.find(words[1])
			if r == nil {
				return fmt.Sprint("nothing ", err), nil
			}
			return describe(r), err
		}
		var n int64
		if _, err := fmt.Sscan(words[2], &n); err != nil {
			return "", err
		}
		var init func(*format.Record)
		if words[0] == "die" {
			init = func(r *format.Record) {
				for i := range m.data(r) {
					m.data(r)[i] = 0xff
				}
				_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
				time.Sleep(time.Hour) // The signal may come a little later.
			}
		}
		r, err := m.add(array(words[1], n), init)
		if err != nil {
			return "", err
		}
		return describe(r), nil
	})
})

// describe says where a value is, and how large.
func describe(r *format.Record) string { return fmt.Sprint(r.Start, " ", r.Data, " ", r.Capacity) }

// isPath reports whether err is a *fs.PathError of the segment that wraps want.
func (m mapping) isPath(err, want error) bool {
	return shmtest.IsPathError(err, m.Path) && errors.Is(err, want)
}

func TestHelpersAreUsed(t *testing.T) {
	n, unused, err := shmtest.UnusedHelpers(".")
	if err != nil || n == 0 || len(unused) > 0 {
		t.Errorf("of %d helpers these are unused: %v; %v", n, unused, err)
	}
}
