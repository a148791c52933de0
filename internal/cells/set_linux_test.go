package cells

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"testing"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/layout"
	"example.org/shm/internal/lease"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
)

func TestMain(m *testing.M) { shmtest.Main(m) }

// peer is a mapping that counts. It has a lease of its own, so several of them in one
// process stand for several processes.
type peer struct {
	*Set
	owner   lease.Owner
	control lease.Control
}

// die drops the lease, as the system does when a process ends.
func (p *peer) die() { p.control.Close() }

// id returns the owner that p has in its cells.
func (p *peer) id() uint64 { return uint64(p.owner.ID()) }

// newPeer returns a peer of a value of that kind with n cells, at the place that
// memtest keeps for cells. Without a lease it counts in cell 0.
func newPeer(t shmtest.TB, s *memtest.Segment, kind format.Kind, n int64) *peer {
	t.Helper()
	p := new(peer)
	p.owner.Init(s.Header, &p.control, s.Path, s.ReadOnly)
	p.owner.ShareAllocation(new(sync.Mutex))
	if err := p.owner.Take(s.File); err != nil {
		t.Fatal(err)
	}
	return p.at(t, s, kind, n)
}

// at attaches p to the value.
func (p *peer) at(t shmtest.TB, s *memtest.Segment, kind format.Kind, n int64) *peer {
	t.Helper()
	l, err := layout.Of[int64]()
	if err != nil {
		t.Fatal(err)
	}
	_, off := s.Cell(0)
	r := &format.Record{Data: off, Shape: format.Shape{Access: format.Atomic, Kind: kind, Layout: l}}
	if kind == format.KindHistogram {
		r.Count = 3
	}
	r.Capacity = r.Stride() * (n + 1)
	p.Set = new(Table).Get(&s.Region, &p.owner, r, race.Token{}, p)
	memtest.Keep(p)
	return p
}

// total is the sum of all numbers.
func (p *peer) total() (sum uint64) {
	words, stride := p.Numbers()
	for i := 0; i < len(words); i += stride {
		sum += words[i].Load()
	}
	return sum
}

// owners returns the owners of the cells from 1 on.
func (p *peer) owners() (all []uint64) {
	for i := 1; i <= p.cells(); i++ {
		all = append(all, p.cell(i).Owner.Load())
	}
	return all
}

func TestClaimInheritsFromTheDead(t *testing.T) {
	s := memtest.New(t)
	a, b := newPeer(t, s, format.KindCounter, 4), newPeer(t, s, format.KindCounter, 4)
	if a.total() != 0 || a.Own() != nil || a.high() != 0 {
		t.Fatal("a new value is not empty")
	}
	atomic.AddUint64(a.Claim(), 5)
	atomic.AddUint64(b.Claim(), 70)
	if a.Claim() != a.Own() || a.Own() == b.Own() || a.high() != 2 {
		t.Fatalf("high %d, owners %v", a.high(), a.owners())
	}
	a.die()
	c := newPeer(t, s, format.KindCounter, 4)
	if c.Claim() != a.Own() || c.cell(1).Owner.Load() != c.id() || c.high() != 2 {
		t.Fatalf("high %d, owners %v: the dead one's cell was not inherited", c.high(), c.owners())
	}
	atomic.AddUint64(c.Own(), 600)
	for _, p := range []*peer{b, c} {
		if got := p.total(); got != 675 {
			t.Errorf("the sum is %d", got)
		}
	}
}

// A table has one Set of a value, and goroutines claim one cell.
func TestOneCellOfAMapping(t *testing.T) {
	s := memtest.New(t)
	p := newPeer(t, s, format.KindCounter, 4)
	var table Table
	get := func() *Set { return table.Get(&s.Region, &p.owner, p.record, race.Token{}, p) }
	if first := get(); first != get() {
		t.Error("two sets of one value")
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { atomic.AddUint64(p.Claim(), 1) })
	}
	wg.Wait()
	if p.total() != 8 || p.high() != 1 || p.cell(1).Number.Load() != 8 {
		t.Errorf("sum %d, high %d, owners %v", p.total(), p.high(), p.owners())
	}
}

func TestMoreProcessesThanCells(t *testing.T) {
	s := memtest.New(t)
	for i := range 4 {
		atomic.AddUint64(newPeer(t, s, format.KindCounter, 2).Claim(), 1)
		if p := newPeer(t, s, format.KindCounter, 2); p.total() != uint64(i+1) {
			t.Fatalf("after %d additions of 1 the sum is %d", i+1, p.total())
		}
	}
	p := newPeer(t, s, format.KindCounter, 2)
	if shared := p.cell(0); shared.Number.Load() != 2 || shared.Owner.Load() != 0 {
		t.Errorf("the shared cell has %d and the owner %d", shared.Number.Load(), shared.Owner.Load())
	}
}

// A process without a lease counts in the cell that all share.
func TestWithoutLease(t *testing.T) {
	s := memtest.New(t)
	p := new(peer)
	p.owner.Init(s.Header, &p.control, s.Path, false)
	p.at(t, s, format.KindCounter, 2)
	if p.Claim() != mem.Plain64(&p.cell(0).Number) || p.high() != 0 {
		t.Errorf("high %d, owners %v", p.high(), p.owners())
	}
}

func TestBuckets(t *testing.T) {
	s := memtest.New(t)
	p := newPeer(t, s, format.KindHistogram, 2)
	p.Claim()
	if len(p.Buckets) != 4 || p.stride != 16 {
		t.Fatalf("%d buckets, stride %d words", len(p.Buckets), p.stride)
	}
	for i := range p.Buckets {
		p.Buckets[i].Add(uint64(i) + 1)
	}
	words, stride := p.Numbers()
	if got := words[stride+format.BucketOffset/8+3].Load(); got != 4 || len(words) != 2*stride {
		t.Errorf("the last bucket has %d; %d words", got, len(words))
	}
}

// living returns the gauges of the living by their ids.
func living(p *peer, s *memtest.Segment) map[uint64]uint64 {
	all := map[uint64]uint64{}
	p.Living(s.File, func(id uint32, n uint64) bool { all[uint64(id)] = n; return true })
	return all
}

func TestGaugesOfTheLiving(t *testing.T) {
	s := memtest.New(t)
	a, b, reader := newPeer(t, s, format.KindGauge, 2), newPeer(t, s, format.KindGauge, 2), newPeer(t, s, format.KindGauge, 2)
	for _, p := range []*peer{a, b} {
		if err := p.Reserve(); err != nil {
			t.Fatal(err)
		}
	}
	if err := reader.Reserve(); !errors.Is(err, errs.Full) {
		t.Errorf("a third gauge with two cells: %v", err)
	}
	if all := living(reader, s); len(all) != 0 || a.Own() != nil {
		t.Errorf("before the first Set there are %v", all)
	}
	if _, stored := a.Show(7); !stored {
		t.Error("the first Set stored nothing")
	}
	if p, stored := a.Show(8); stored || p != a.Own() {
		t.Error("the second Set was taken for the first")
	}
	b.Show(9)
	if all := living(reader, s); len(all) != 2 || all[a.id()] != 7 || all[b.id()] != 9 {
		t.Errorf("%v, want 7 of %d and 9 of %d", all, a.id(), b.id())
	}
	a.die()
	shmtest.Eventually(t, "the dead one's number vanishes", func() bool { return len(living(reader, s)) == 1 })
	if got := reader.cell(1).Owner.Load(); got != 0 {
		t.Errorf("its cell has the owner %#x still", got)
	}
	if err := reader.Reserve(); err != nil {
		t.Fatal(err)
	}
	if all := living(b, s); len(all) != 1 || reader.cell(1).Owner.Load() != reader.id()|format.Clean || reader.cell(1).Number.Load() != 0 {
		t.Errorf("%v, owners %#x", all, reader.owners())
	}
}

// A gauge whose process died before it set anything can be claimed.
func TestReservedByTheDead(t *testing.T) {
	s := memtest.New(t)
	a := newPeer(t, s, format.KindGauge, 1)
	if err := a.Reserve(); err != nil {
		t.Fatal(err)
	}
	a.die()
	if err := newPeer(t, s, format.KindGauge, 1).Reserve(); err != nil {
		t.Error(err)
	}
}

// A process that others took for dead, because its own program closed its lease, does not
// take back the cell that one of them has.
func TestGaugeOfOneTakenForDead(t *testing.T) {
	for _, shown := range []bool{false, true} {
		s := memtest.New(t)
		a := newPeer(t, s, format.KindGauge, 1)
		if err := a.Reserve(); err != nil {
			t.Fatal(err)
		}
		a.die()
		b := newPeer(t, s, format.KindGauge, 1)
		if err := b.Reserve(); err != nil {
			t.Fatal(err)
		}
		want := b.id() | format.Clean
		if shown {
			b.Show(7)
			want = b.id()
		}
		n := b.cell(1).Number.Load()
		p, stored := a.Show(8)
		if !stored || p != a.Own() {
			t.Error("Set would try again")
		}
		*p = 9
		if c := b.cell(1); c.Owner.Load() != want || c.Number.Load() != n {
			t.Errorf("the cell has %d of %#x, want %d of %#x", c.Number.Load(), c.Owner.Load(), n, want)
		}
	}
}

// A mapping that may write, but has no lease, finds out who is dead.
func TestGaugesSeenWithoutLease(t *testing.T) {
	s := memtest.New(t)
	a := newPeer(t, s, format.KindGauge, 2)
	if err := a.Reserve(); err != nil {
		t.Fatal(err)
	}
	a.Show(7)
	p := new(peer)
	p.owner.Init(s.Header, &p.control, s.Path, false)
	p.at(t, s, format.KindGauge, 2)
	if all := living(p, s); all[a.id()] != 7 {
		t.Errorf("%v, want 7 of %d", all, a.id())
	}
	a.die()
	shmtest.Eventually(t, "the dead one's number vanishes", func() bool { return len(living(p, s)) == 0 })
}

// A read-only mapping finds out who is dead, and changes nothing.
func TestGaugesReadOnly(t *testing.T) {
	s := memtest.New(t)
	a := newPeer(t, s, format.KindGauge, 2)
	if err := a.Reserve(); err != nil {
		t.Fatal(err)
	}
	a.Show(7)
	ro := memtest.Open(t, s.Path, true)
	p := new(peer)
	p.owner.Init(ro.Header, &p.control, ro.Path, true)
	p.at(t, ro, format.KindGauge, 2)
	if all := living(p, ro); all[a.id()] != 7 {
		t.Errorf("%v, want 7 of %d", all, a.id())
	}
	a.die()
	shmtest.Eventually(t, "the dead one's number vanishes", func() bool { return len(living(p, ro)) == 0 })
	if a.cell(1).Owner.Load() != a.id() {
		t.Error("a read-only mapping has written")
	}
}

// Whatever stands in the cells, no access is outside, and each loop ends.
func TestHostileCells(t *testing.T) {
	for _, garbage := range []uint64{math.MaxUint64, 1 << 32, 1<<33 | 99, math.MaxUint32, format.MaxID, 1 << 63} {
		s := memtest.New(t)
		p, g := newPeer(t, s, format.KindCounter, 3), newPeer(t, s, format.KindGauge, 3)
		p.header.High.Store(garbage)
		for i := 0; i <= 3; i++ {
			p.cell(i).Owner.Store(garbage)
			p.cell(i).Probed.Store(int64(garbage))
		}
		if words, stride := p.Numbers(); len(words) != 4*stride {
			t.Errorf("%#x: %d words of %d", garbage, len(words), 4*stride)
		}
		atomic.AddUint64(p.Claim(), 3)
		if p.total() != 3 {
			t.Errorf("%#x: the sum is %d", garbage, p.total())
		}
		for id := range living(g, s) {
			if id > format.MaxID {
				t.Errorf("%#x: id %#x", garbage, id)
			}
		}
		if err := g.Reserve(); err != nil {
			t.Errorf("%#x: %v", garbage, err)
		}
	}
}
