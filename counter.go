package shm

import (
	"math"
	"runtime"
	"sync/atomic"
	"time"

	"example.org/shm/internal/cells"
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
)

// CounterNumber permits the numbers of a Counter and a Gauge.
type CounterNumber interface {
	~int64 | ~uint64 | ~float64
}

// Counter is a sum in shared memory to which many processes add at the same time. Each
// process has a number of its own in memory, so Add costs as much as an atomic addition
// that nobody else makes, whatever the number of processes. Load adds the numbers up. An
// Atomic is one number, which its processes take from each other: there each Add becomes
// slower, and Load is cheaper.
//
// What a process has added stays when the process ends or is killed, and is counted once.
// A process killed inside Add has added all of it or nothing. The number of a dead process
// goes over to the next process that counts, as it is.
//
// Load returns at least what was added by each Add that returned before the call, and at
// most what was added by each that began before Load returned. If nobody adds less than 0,
// no Load returns less than one before it. Integers wrap around. Each addition of float64
// is rounded.
//
// A process takes one of 64 numbers with its first Add. If 64 living processes have taken
// one, further processes share one more number, and so does a process that can get no
// lease. Nothing is lost then, but Add costs them as much as with an Atomic. A process that
// only calls Load takes no number.
//
// A Counter works after Close of its segment. In a read-only attachment Load works, and
// Add panics with ErrReadOnly.
//
// Source: per-CPU counters of the Linux kernel (percpu_counter.h), and the multiprocess
// mode of client_python of Prometheus, where a file for each process grows with each pid.
type Counter[T CounterNumber] struct {
	set *cells.Set // which keeps the mapping; with another word, Add would not be inlined
}

// NewCounter attaches to the counter of that name, or makes it. It starts from 0. The
// errors are those of NewRawValue.
func NewCounter[T CounterNumber](s *Segment, name string) (Counter[T], error) {
	return newCounter[T](s, format.Label{Name: name})
}

func newCounter[T CounterNumber](s *Segment, l format.Label) (Counter[T], error) {
	m, r, err := placeCells[T](s, l, format.KindCounter, format.HintCounter)
	if err != nil {
		return Counter[T]{}, err
	}
	m.takeIfPossible(s)
	return Counter[T]{m.setOf(r)}, nil
}

// placeCells finds or makes a number with a cell for each process.
func placeCells[T CounterNumber](s *Segment, l format.Label, kind format.Kind, hint format.Hint) (*mapping, *format.Record, error) {
	form, err := layoutFor[T]()
	if err != nil {
		return nil, nil, err
	}
	if l.Hint == format.HintNone {
		l.Hint = hint
		if _, ok := any((*T)(nil)).(*time.Duration); ok {
			l.Hint = format.HintDuration // the type tells the rest
		}
	}
	return s.place(format.Shape{Label: l, Layout: form, Access: format.Atomic, Kind: kind}, nil)
}

// setOf returns this mapping's side of a record with cells.
func (m *mapping) setOf(r *format.Record) *cells.Set {
	return m.cells.Get(&m.region, &m.party.Owner, r, m.file.cells.Token(r.Data), m)
}

// takeIfPossible takes an id and a lease for values that work without, but slower.
func (m *mapping) takeIfPossible(s *Segment) {
	_ = m.region.Guarded(func() error { return m.party.Take(s.file) })
}

// Add adds delta, which a Counter expects to be at least 0.
func (c Counter[T]) Add(delta T) {
	if c.set.Ready {
		atomic.AddUint64(c.set.Fast, uint64(delta))
		runtime.KeepAlive(c) // not c.set, which costs one unit too much
	} else {
		c.addSlow(delta)
	}
}

// addSlow is Add the first time, of a float64, and for the race detector.
//
//go:noinline
func (c Counter[T]) addSlow(delta T) {
	s := c.set
	if m := s.Outer.(*mapping); m.refusal != nil {
		panic(m.refusal)
	}
	p := s.Own()
	if p == nil {
		p = s.Claim()
	}
	s.Token.Release()
	addTo(p, delta)
	s.Token.Acquire()
	runtime.KeepAlive(s)
}

// Load returns the sum.
func (c Counter[T]) Load() (sum T) {
	words, stride := c.set.Numbers()
	for i := 0; i < len(words); i += stride {
		sum += numberOf[T](words[i].Load())
	}
	c.set.Token.Acquire()
	runtime.KeepAlive(c.set)
	return sum
}

// addTo adds to the number at p by one atomic operation.
func addTo[T CounterNumber](p *uint64, delta T) {
	if !mem.IsFloat[T]() {
		atomic.AddUint64(p, uint64(delta))
		return
	}
	for {
		old := atomic.LoadUint64(p)
		if atomic.CompareAndSwapUint64(p, old, mem.Bits(numberOf[T](old)+delta)) {
			return
		}
	}
}

// numberOf returns the number with the bits that mem.Bits returns of it.
func numberOf[T CounterNumber](bits uint64) T {
	if mem.IsFloat[T]() {
		return T(math.Float64frombits(bits))
	}
	return T(bits)
}
