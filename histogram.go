package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/bits"
	"runtime"
	"slices"
	"sync/atomic"

	"example.org/shm/internal/cells"
	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/layout"
	"example.org/shm/internal/mem"
)

// Histogram counts observations by their size, in shared memory: how many were at most
// 0.1, how many more at most 0.5, and so on, and their sum. As of a Counter, each process
// has buckets of its own, so Observe costs the same whatever the number of processes, and
// what a process has observed stays when it dies.
//
// Observe adds to the sum first and then to a bucket. If a process is killed in between,
// its last observation is in the sum and in no bucket. A Load between the two additions
// sees that too. The number of observations is not stored: it is the sum of the buckets.
//
// The limits of a Counter apply: the number of processes, Close, and read-only
// attachments.
//
// Source: the histograms of Prometheus. Their buckets are cumulative; these are not.
type Histogram struct{ h *histogram }

type histogram struct {
	set    *cells.Set
	m      *mapping
	bounds []float64 // a copy
	keys   []uint64  // of the bounds, see keyOf
}

// HistogramData is what a Histogram has counted.
type HistogramData struct {
	Bounds []float64 // ascending
	Counts []uint64  // one more than bounds: Counts[i] of at most Bounds[i] and more than the bound before; the last one of all others
	Sum    float64   // of all observations
}

// NewHistogram attaches to the histogram of that name, or makes it. There are 1 to 1024
// bounds, finite and in ascending order; nil means those found, and if there is no such
// histogram the error wraps fs.ErrNotExist. If the histogram has other bounds, the error
// is a *LayoutError. It wraps fs.ErrInvalid if the bounds are not as said. The other
// errors are those of NewRawValue.
func NewHistogram(s *Segment, name string, bounds []float64) (Histogram, error) {
	return newHistogram(s, format.Label{Name: name}, bounds)
}

func newHistogram(s *Segment, l format.Label, bounds []float64) (Histogram, error) {
	want := format.Shape{Label: l, Layout: number64(), Access: format.Atomic, Kind: format.KindHistogram, Count: int64(len(bounds))}
	if bounds == nil {
		want.Count = -1
	} else if err := checkBounds(bounds); err != nil {
		return Histogram{}, fmt.Errorf("shm: value %q: %w: %w", l.Name, fs.ErrInvalid, err)
	}
	m, r, found, err := s.placeBounds(want, bounds)
	if err != nil {
		return Histogram{}, err
	}
	m.takeIfPossible(s)
	h := &histogram{set: m.setOf(r), m: m, bounds: found}
	for _, b := range found {
		h.keys = append(h.keys, keyOf(b))
	}
	return Histogram{h}, nil
}

// placeBounds finds or makes a histogram, and returns its bounds.
func (s *Segment) placeBounds(want format.Shape, bounds []float64) (m *mapping, r *format.Record, found []float64, err error) {
	m, r, err = s.place(want, func(m *mapping, r *format.Record) {
		copy(mem.Slice[float64](&m.region, r.Data+format.CellLine, len(bounds)), bounds)
	})
	if err != nil {
		return nil, nil, nil, err
	}
	if found, err = m.boundsOf(r); err != nil {
		return nil, nil, nil, err
	}
	for i, b := range bounds {
		if b != found[i] {
			mismatch := mismatch(&want, r, fmt.Sprintf("bound %d is %v, wanted %v; nil takes the bounds found", i, found[i], b))
			mismatch.Segment = m.region.Path
			return nil, nil, nil, mismatch
		}
	}
	return m, r, found, nil
}

// number64 is the layout of a float64.
func number64() *layout.Layout {
	l, _ := layout.Of[float64]()
	return l
}

// checkBounds returns an error that says what is wrong with the bounds, or nil.
func checkBounds(bounds []float64) error {
	switch n := len(bounds); {
	case n == 0:
		return errors.New("no bounds; give nil to take those found")
	case n > format.MaxBounds:
		return fmt.Errorf("%d bounds, at most %d are allowed", n, format.MaxBounds)
	}
	for i, b := range bounds {
		switch {
		case math.IsNaN(b):
			return fmt.Errorf("bound %d is NaN", i)
		case math.IsInf(b, 0):
			return fmt.Errorf("bound %d is %v; the last bucket has no bound by itself", i, b)
		case i > 0 && b <= bounds[i-1]:
			return fmt.Errorf("bound %d is %v, after %v; bounds ascend", i, b, bounds[i-1])
		}
	}
	return nil
}

// boundsOf returns a copy of the bounds of a histogram. The error wraps ErrFormat.
func (m *mapping) boundsOf(r *format.Record) (bounds []float64, err error) {
	err = m.region.Guarded(func() error {
		bounds = slices.Clone(mem.Slice[float64](&m.region, r.Data+format.CellLine, int(r.Count)))
		return nil
	})
	runtime.KeepAlive(m)
	if err == nil {
		if unfit := checkBounds(bounds); unfit != nil {
			err = fmt.Errorf("%w: %w", ErrFormat, unfit)
		}
	}
	if err != nil {
		return nil, errs.Wrap(err, "value %q", r.Name)
	}
	return bounds, nil
}

// Observe counts x. A NaN is counted in the last bucket, and makes the sum NaN for ever.
func (v Histogram) Observe(x float64) {
	h := v.h
	p := h.set.Own()
	if p == nil {
		p = h.claim()
	}
	h.set.Token.Release()
	for {
		old := atomic.LoadUint64(p)
		if atomic.CompareAndSwapUint64(p, old, math.Float64bits(math.Float64frombits(old)+x)) {
			break
		}
	}
	killpoint.At(killpoint.SumAdded)
	h.set.Buckets[h.bucket(keyOf(x))].Add(1)
	killpoint.At(killpoint.BucketCounted)
	h.set.Token.Acquire()
	runtime.KeepAlive(h.m)
}

// claim is the way to this process's buckets the first time.
//
//go:noinline
func (h *histogram) claim() *uint64 {
	if h.m.refusal != nil {
		panic(h.m.refusal)
	}
	return h.set.Claim()
}

// bucket returns the first bucket whose bound is at least the number with that key. The
// search has no branch that depends on the key, because the processor would guess half of
// them wrongly.
func (h *histogram) bucket(key uint64) (b int) {
	for n := len(h.keys); n > 0; n >>= 1 {
		half := n - n>>1
		_, above := bits.Sub64(h.keys[b+half-1], key, 0) // 1 if it is above the bound
		b += half & -int(above)
	}
	return b
}

// keyOf returns a number that orders as x does. 0 and -0 are one, and a NaN is above all.
func keyOf(x float64) uint64 {
	if x != x {
		return math.MaxUint64
	}
	n := math.Float64bits(x + 0)
	return n ^ (uint64(int64(n)>>63) | 1<<63)
}

// Load returns the sums over all processes.
func (v Histogram) Load() HistogramData {
	h := v.h
	d := loadBuckets(h.set, h.bounds)
	h.set.Token.Acquire()
	runtime.KeepAlive(h.m)
	return d
}

// loadBuckets returns what has been counted in all cells, with a copy of the bounds.
func loadBuckets(set *cells.Set, bounds []float64) HistogramData {
	d := HistogramData{Bounds: slices.Clone(bounds), Counts: make([]uint64, len(bounds)+1)}
	words, stride := set.Numbers()
	for cell := range slices.Chunk(words, stride) {
		// The buckets first: what is in a bucket is in the sum that is read later.
		for b := range d.Counts {
			d.Counts[b] += cell[format.BucketOffset/8+b].Load()
		}
		d.Sum += math.Float64frombits(cell[0].Load())
	}
	return d
}
