//go:build linux

package directory

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
)

// Values are found in any order, by an index that is older than they are, and each
// record is read once.
func TestManyNames(t *testing.T) {
	m := newMapping(t)
	other := m.again(true)
	const n = 3000
	var added []string
	for from := 0; from < n; from += n / 3 {
		for i := from; i < from+n/3; i++ {
			added = append(added, describe(m.added(number(strconv.Itoa(i)))))
		}
		for _, i := range rand.Perm(from + n/3) {
			r := other.found(strconv.Itoa(i))
			if describe(r) != added[i] {
				t.Fatalf("value %d is at %s, want %s", i, describe(r), added[i])
			}
			if other.found(strconv.Itoa(i)) != r {
				t.Fatalf("value %d was read again", i)
			}
		}
	}
	if len(other.layouts) != 1 {
		t.Errorf("there are %d layouts of one format", len(other.layouts))
	}
	if r, err := other.find(strconv.Itoa(n)); r != nil || err != nil {
		t.Errorf("one too many: %v, %v", r, err)
	}
}

// Goroutines look for values, and list them, while others add some in the same
// mapping and in another one.
func TestFindBesideAdd(t *testing.T) {
	m := newMapping(t)
	mappings := []mapping{m, m.again(false)}
	const n, adders = 200, 2
	var wg sync.WaitGroup
	for g := range adders {
		wg.Go(func() {
			for i := range n {
				m, name := mappings[(i+g)%2], fmt.Sprint(g, "/", i)
				if r, err := m.add(number(name), nil); err != nil || m.found(name) != r {
					t.Errorf("%s: %v, %v", name, r, err)
				}
			}
		})
		wg.Go(func() {
			for i := 0; i < n; {
				before := int64(0)
				for _, r := range m.all() {
					if r.Start <= before {
						t.Errorf("a value at %d is listed after one at %d", r.Start, before)
						return
					}
					before = r.Start
				}
				r, err := m.find(fmt.Sprint(g, "/", i))
				if err != nil {
					t.Error(err)
					return
				}
				if r != nil {
					i++
				}
			}
		})
	}
	shmtest.Within(t, "all are found", wg.Wait)
	if got := len(m.all()); got != adders*n {
		t.Errorf("%d values of %d are found", got, adders*n)
	}
}

// Goroutines of several mappings and several processes that add the same names at
// the same time get the same values.
func TestProcessesAddTheSame(t *testing.T) {
	const names, processes = 30, 3
	m := newMapping(t)
	var all []*shmtest.Process
	for range processes {
		all = append(all, shmtest.Start(t, peer, m.Path))
	}
	var own [names]string
	var wg sync.WaitGroup
	for i := range names {
		for _, p := range all {
			p.Say(fmt.Sprint("add name", i, " 100"))
		}
		wg.Go(func() {
			if r, err := m.add(array(fmt.Sprint("name", i), 100), nil); err != nil {
				t.Error(err)
			} else {
				own[i] = describe(r)
			}
		})
	}
	wg.Wait()
	for i := range names {
		for _, p := range all {
			p.Expect(own[i])
		}
	}
	if got := m.again(true).allNames(); len(got) != names {
		t.Errorf("there are %d values of %d", len(got), names)
	}
}

// An init that panics, as it does for a fault, leaves nothing behind: no name, no
// lock, and no bytes in the value that comes next.
func TestInitThatPanics(t *testing.T) {
	m := newMapping(t)
	used := m.used()
	for _, n := range []int64{20_000, 200} {
		value := shmtest.Panic(func() {
			_, _ = m.add(array("n", n), func(r *format.Record) {
				for i := range m.data(r) {
					m.data(r)[i] = 0xff
				}
				panic("no")
			})
		})
		if value != "no" || m.used() != used || shmtest.Must(m.find("n"))(t) != nil {
			t.Errorf("after a panic with %v %d bytes are used, and were %d", value, m.used(), used)
		}
	}
	r := m.added(array("n", 100))
	for i, c := range m.Bytes[r.Data:format.FirstAllocation] {
		if c != 0 {
			t.Fatalf("byte %d is %#x", r.Data+int64(i), c)
		}
	}
}

// A struct that grows keeps its room, and gets none for its new length.
func TestGrowthKeepsTheRoom(t *testing.T) {
	type short struct{ A [7]int64 }
	type long struct {
		A [7]int64
		B [9]int64
	}
	m := newMapping(t)
	old := m.added(published[short]("s"))
	if room := published[long]("s").Room(); room == old.Capacity || old.Capacity < 128 {
		t.Fatalf("both would have room for %d bytes", room)
	}
	if r := m.added(published[long]("s")); r.Capacity != old.Capacity || r.Layout.Size != 128 {
		t.Errorf("it has room for %d bytes, and had %d; it has %d", r.Capacity, old.Capacity, r.Layout.Size)
	}
	if r := m.again(true).found("s"); r.Capacity != old.Capacity || r.Layout.Size != 128 || r.Data != old.Data {
		t.Errorf("others find it with room for %d bytes, where it had %d", r.Capacity, old.Capacity)
	}
}
