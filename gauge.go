package shm

import (
	"iter"
	"runtime"
	"sync/atomic"

	"example.org/shm/internal/cells"
	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
)

// Gauge is a number that each process has for itself and all can read: requests in work,
// bytes in a cache, the depth of a queue. Load returns the sum over the living processes,
// All each of them. The number of a process vanishes when the process ends or is killed,
// without any action of its own. Until somebody notices that, which takes at most some
// milliseconds after the end of its lease, it still counts.
//
// Set and Add change this process's number, which all Segments and goroutines of the
// process share. It counts from the first of them on, not before: a process that never
// calls them is neither in All nor in Min.
//
// There are 64 numbers, and NewGauge takes one. If as many processes are alive that have
// one, NewGauge returns an error that wraps ErrFull. A process that only reads takes none
// if it attaches with Options.ReadOnly.
//
// A Gauge works after Close of its segment: the process keeps its lease, and its number
// counts, as long as a handle of the segment can be reached. In a read-only attachment Set
// and Add panic with ErrReadOnly, and the other methods work. After Close of a read-only
// attachment they still count processes that die later, because they can no longer probe.
//
// Source: the multiprocess mode of client_python of Prometheus has gauges of the living
// (livesum, livemax), which a parent process has to tell of each death.
type Gauge[T CounterNumber] struct {
	set *cells.Set
	m   *mapping
	s   *Segment
}

// NewGauge attaches to the gauge of that name, or makes it. The errors are those of
// NewValue; ErrFull also means that too many processes have a number of it.
func NewGauge[T CounterNumber](s *Segment, name string) (Gauge[T], error) {
	return newGauge[T](s, format.Label{Name: name})
}

func newGauge[T CounterNumber](s *Segment, l format.Label) (Gauge[T], error) {
	m, r, err := placeCells[T](s, l, format.KindGauge, format.HintGauge)
	if err != nil {
		return Gauge[T]{}, err
	}
	set := m.setOf(r)
	if !m.region.ReadOnly {
		if err := m.region.Guarded(set.Reserve); err != nil {
			return Gauge[T]{}, errs.Wrap(err, "value %q", l.Name)
		}
	}
	return Gauge[T]{set, m, s}, nil
}

// Set sets this process's number.
func (g Gauge[T]) Set(x T) {
	p := g.set.Own()
	g.set.Token.Release()
	if p == nil {
		var done bool
		if p, done = g.show(x); done {
			return
		}
	}
	atomic.StoreUint64(p, mem.Bits(x))
	runtime.KeepAlive(g.m)
}

// Add adds delta to this process's number, which starts from 0.
func (g Gauge[T]) Add(delta T) {
	p := g.set.Own()
	g.set.Token.Release()
	if p == nil {
		var done bool
		if p, done = g.show(delta); done {
			return
		}
	}
	addTo(p, delta)
	g.set.Token.Acquire()
	runtime.KeepAlive(g.m)
}

// show makes this process's number x if nobody has set it so far, and reports whether it
// did.
//
//go:noinline
func (g Gauge[T]) show(x T) (p *uint64, done bool) {
	if g.m.refusal != nil {
		panic(g.m.refusal)
	}
	p, done = g.set.Show(mem.Bits(x))
	runtime.KeepAlive(g.m)
	return p, done
}

// Load returns the sum of the numbers of the living processes, 0 if there are none.
func (g Gauge[T]) Load() (sum T) {
	g.each(func(_ uint32, x T) bool { sum += x; return true })
	return sum
}

// All yields each living process that has set its number, with that number, in no
// particular order.
func (g Gauge[T]) All() iter.Seq2[Process, T] {
	return func(yield func(Process, T) bool) {
		g.each(func(id uint32, x T) bool { return yield(g.s.process(g.m, id), x) })
	}
}

// Min returns the smallest number of a living process. ok is false if there is none.
func (g Gauge[T]) Min() (x T, ok bool) {
	g.each(func(_ uint32, y T) bool { x, ok = pick(min(x, y), y, ok), true; return true })
	return x, ok
}

// Max returns the largest number of a living process. ok is false if there is none.
func (g Gauge[T]) Max() (x T, ok bool) {
	g.each(func(_ uint32, y T) bool { x, ok = pick(max(x, y), y, ok), true; return true })
	return x, ok
}

// pick returns best, or the first one that is found.
func pick[T CounterNumber](best, first T, found bool) T {
	if found {
		return best
	}
	return first
}

// each calls yield for the id and the number of each living process.
func (g Gauge[T]) each(yield func(id uint32, x T) bool) {
	g.set.Living(g.s.file, func(id uint32, bits uint64) bool {
		g.set.Token.Acquire() // after the load of the number
		return yield(id, numberOf[T](bits))
	})
	runtime.KeepAlive(g.m)
}
