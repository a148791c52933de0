package bench

import (
	"sync"

	"example.org/shm"
)

// This file has the ways whose number is in memory of one process or in the segment.

// pointerCounter is the way to compare the others with: nothing is faster, and it
// guarantees nothing.
type pointerCounter struct{ p *int64 }

func openPointer(place) (counter, error) { return pointerCounter{new(int64)}, nil }

func (c pointerCounter) add(n int) error {
	p := c.p
	for range n {
		*p++
	}
	return nil
}

func (c pointerCounter) number() int64 { return *c.p }

type rawCounter struct{ v shm.RawValue[int64] }

func newRaw(s *shm.Segment) (rawCounter, error) {
	v, err := shm.NewRawValue[int64](s, nameOfNumber, 0)
	return rawCounter{v}, err
}

func openRaw(at place) (counter, error) { return newRaw(at.segment) }

func readRaw(s *shm.Segment) (int64, error) {
	c, err := newRaw(s)
	if err != nil {
		return 0, err
	}
	return c.v.Get(), nil
}

func (c rawCounter) add(n int) error {
	v := c.v
	for range n {
		v.Set(v.Get() + 1)
	}
	return nil
}

type atomicCounter struct{ v shm.Atomic[int64] }

func newAtomic(s *shm.Segment) (atomicCounter, error) {
	v, err := shm.NewAtomic[int64](s, nameOfNumber, 0)
	return atomicCounter{v}, err
}

func openAtomic(at place) (counter, error) { return newAtomic(at.segment) }

func readAtomic(s *shm.Segment) (int64, error) {
	c, err := newAtomic(s)
	if err != nil {
		return 0, err
	}
	return c.v.Load(), nil
}

func (c atomicCounter) add(n int) error {
	v := c.v
	for range n {
		v.Add(1)
	}
	return nil
}

type valueCounter struct{ v shm.Value[int64] }

func newValue(s *shm.Segment) (valueCounter, error) {
	v, err := shm.NewValue[int64](s, nameOfNumber, 0)
	return valueCounter{v}, err
}

func openValue(at place) (counter, error) { return newValue(at.segment) }

func readValue(s *shm.Segment) (int64, error) {
	c, err := newValue(s)
	if err != nil {
		return 0, err
	}
	return c.v.Load(), nil
}

func (c valueCounter) add(n int) error {
	v := c.v
	for range n {
		v.Add(1)
	}
	return nil
}

func (c valueCounter) lock() error {
	c.v.Mutex().Lock()
	return nil
}

// mutexCounter is the usual way of a program that shares nothing with other processes.
type mutexCounter struct {
	mu sync.Mutex
	n  int64
}

func openMutex(place) (counter, error) { return new(mutexCounter), nil }

func (c *mutexCounter) add(n int) error {
	for range n {
		c.mu.Lock()
		c.n++
		c.mu.Unlock()
	}
	return nil
}

func (c *mutexCounter) lock() error {
	c.mu.Lock()
	return nil
}

func (c *mutexCounter) number() int64 { return c.n }
