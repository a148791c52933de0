package shm

import (
	"context"
	"runtime"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/slots"
)

// Ring is a stream of values: any process appends, and any number of readers see each
// value once, in order, or are told how many they missed. The last values are kept, as
// many as the constructor was given. A writer never waits for a reader, and knows of
// none: a reader that is too slow loses the oldest values.
//
// A value is a number, a struct or any other type of fixed size. A reader gets it whole,
// also if the process that appended it died at any point: then it was appended, or it
// was not. Values are numbered from 1, without gaps, for as long as the segment lives.
//
// A Ring works after Close of its segment, except that Next of its readers returns
// ErrClosed. In a read-only attachment Append panics with ErrReadOnly, and the other
// methods work.
//
// Source: the ring buffer of the LMAX Disruptor (Thompson and others, 2011), without its
// barrier for slow readers; the readers check their copies as those of a seqlock do
// (Boehm, Can Seqlocks Get Along With Programming Language Memory Models?, MSPC 2012).
type Ring[T any] struct{ s *ringSlots }

type ringSlots struct {
	slots.Ring
	bools []mem.ByteRange
}

// NewRing attaches to the stream of that name, or makes one that keeps the last n
// values. If n is 0 it takes the length found, and if there is no such stream the error
// wraps fs.ErrNotExist. The error is a *TypeError if T has a field that cannot be
// shared, and a *LayoutError if the existing value is of another type or length.
// Otherwise the errors are those of NewValue.
func NewRing[T any](s *Segment, name string, n int) (Ring[T], error) {
	return newRing[T](s, format.Label{Name: name}, n)
}

func newRing[T any](s *Segment, l format.Label, n int) (Ring[T], error) {
	form, err := layoutFor[T]()
	if err != nil {
		return Ring[T]{}, err
	}
	m, r, err := s.placeLong(format.Shape{Label: hinted[T](l), Layout: form, Access: format.Published, Kind: format.KindRing}, n)
	if err != nil {
		return Ring[T]{}, err
	}
	v := Ring[T]{&ringSlots{*m.readRingOf(r), mem.Bools[T]()}}
	v.s.Lock = m.lockOf(r)
	return v, nil
}

// readRingOf returns the slots of a ring for reading alone. That needs no lease.
func (m *mapping) readRingOf(r *format.Record) *slots.Ring {
	return slots.RingAt(&m.region, r, m.file.cells.Token(r.Data))
}

// Len returns how many values the ring keeps once it is full.
func (v Ring[T]) Len() int { return int(v.s.Kept) }

// Append appends x, wakes the readers that await it, and returns its number.
func (v Ring[T]) Append(x T) (seq uint64) {
	s := v.s
	mu := s.Lock
	mu.Acquire()
	seq = s.Append(mem.BytesOf(&x))
	if left := mu.Free(); left != 0 {
		mu.Finish(left, true)
	}
	runtime.KeepAlive(s)
	return seq
}

// Last returns a copy of the newest value and its number. ok is false if nothing was
// appended yet.
//
// A copy is outdated if Len values were appended while it was made; then Last copies again.
// That is rare in a ring of two values or more. After 64 outdated copies Last takes the lock
// for one copy, and waits at most 10 ms for it. A read-only attachment cannot take the lock
// and copies until it succeeds.
func (v Ring[T]) Last() (x T, seq uint64, ok bool) {
	s := v.s
	if seq, ok = s.Newest(mem.BytesOf(&x)); !ok {
		var none T
		return none, 0, false
	}
	if s.bools != nil {
		mem.Normalise(&x, s.bools)
	}
	runtime.KeepAlive(s)
	return x, seq, true
}

// Reader returns a reader that begins with the next value that is appended after the
// call.
func (v Ring[T]) Reader() *RingReader[T] {
	return v.From(v.s.Cell.Commit.Load() + 1)
}

// From returns a reader that begins with the value of that number. If that is not kept
// any more, the reader begins with the oldest one, and Missed counts those between. From
// 0, a reader begins with the oldest value that is kept at the time of the call.
func (v Ring[T]) From(seq uint64) *RingReader[T] {
	return (&RingReader[T]{ringPlace{s: v.s}}).From(seq)
}

// RingReader reads a Ring. Each reader has a place of its own, which no other process
// knows. One goroutine at a time may use it.
type RingReader[T any] struct{ ringPlace }

// ringPlace is what a RingReader of any type knows.
type ringPlace struct {
	s      *ringSlots
	next   uint64 // the number of the value that Next returns
	slot   uint64 // of that value
	missed uint64
}

// Next returns a copy of the next value and its number. It sleeps until there is one, as
// Struct.Await does. If the value is not kept any more, Next returns the oldest one that
// is, and Missed counts those between.
//
// The error wraps the context's, also if there is a value; ErrClosed, after Close of the
// segment; or ErrFormat, if another program has cut the file off. After an error the
// reader is where it was before.
func (r *RingReader[T]) Next(ctx context.Context) (x T, seq uint64, err error) {
	s := r.s
	err = mutexOf(s.Lock).m.region.Guarded(func() error {
		seq, err = r.take(ctx, mem.BytesOf(&x))
		return err
	})
	if err != nil {
		var none T
		return none, 0, err
	}
	if s.bools != nil {
		mem.Normalise(&x, s.bools)
	}
	runtime.KeepAlive(s)
	return x, seq, nil
}

// take copies the next value, and goes on to the one after it.
//
// Preconditions: the caller is inside region.Guarded.
func (r *ringPlace) take(ctx context.Context, b []byte) (seq uint64, err error) {
	s := r.s
	if err := s.Lock.Over(ctx); err != nil {
		return 0, err
	}
	seq, slot := r.next, r.slot
	if count := s.Cell.Commit.Load(); seq > count || count-seq >= s.Kept || !s.Copy(b, seq, slot) {
		if seq, err = s.await(ctx, b, seq); err != nil {
			return 0, err
		}
		slot = s.SlotOf(seq)
	}
	r.missed += seq - r.next
	r.next, r.slot = seq+1, s.After(slot)
	return seq, nil
}

// await copies the value of that number, or the oldest one that is kept, when there is
// one.
func (s *ringSlots) await(ctx context.Context, b []byte, seq uint64) (got uint64, err error) {
	over := func() bool { return s.Lock.Over(ctx) != nil }
	version := func() uint64 { return s.Cell.Commit.Load() }
	for {
		if got, ok := s.Read(b, seq, over); ok {
			return got, nil
		}
		if err := s.Lock.Over(ctx); err != nil {
			return 0, err
		}
		if err := s.Lock.Await(ctx, version, func() bool { return version() >= seq }); err != nil {
			return 0, err
		}
	}
}

// From sets the reader to the value of that number, back or forward, and returns the
// reader. See Ring.From. Missed does not count what this call leaves out.
func (r *RingReader[T]) From(seq uint64) *RingReader[T] {
	s := r.s
	if seq == 0 {
		seq = s.Oldest(s.Cell.Commit.Load())
	}
	r.next, r.slot = seq, s.SlotOf(seq)
	runtime.KeepAlive(s)
	return r
}

// Missed returns how many values this reader has missed, in all, because they were not
// kept any more when Next came to them.
func (r *RingReader[T]) Missed() uint64 { return r.missed }
