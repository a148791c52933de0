package replica

import (
	"fmt"
	"hash/fnv"

	"example.org/shm"
)

// numbers keeps a number for each key in the replica, so that an agent that starts again
// knows what the one before it had stored. They are in a few arrays, of pairs: the hash of
// a key, and its number. A hash of 0 ends the pairs.
type numbers struct {
	s      *shm.Segment
	prefix string
	arrays []shm.AtomicArray[uint64]
	places map[uint64]shm.Atomic[uint64]
	used   int // pairs of the last array
}

// pairsOf returns how many pairs an array has: each has twice as many as the one before.
func pairsOf(array int) int { return 64 << min(array, 14) }

// openNumbers finds the numbers whose arrays begin with a prefix.
func openNumbers(s *shm.Segment, prefix string) (*numbers, error) {
	n := &numbers{s: s, prefix: prefix, places: map[uint64]shm.Atomic[uint64]{}}
	for {
		if _, found := s.Lookup(n.name()); !found {
			return n, nil
		}
		if err := n.addArray(); err != nil {
			return nil, err
		}
		a := n.arrays[len(n.arrays)-1]
		for ; n.used < a.Len()/2; n.used++ {
			hash := a.At(2 * n.used).Load()
			if hash == 0 {
				break
			}
			n.places[hash] = a.At(2*n.used + 1)
		}
	}
}

// name returns the name of the array behind the last one.
func (n *numbers) name() string { return fmt.Sprint(n.prefix, len(n.arrays)) }

func (n *numbers) addArray() error {
	a, err := shm.NewAtomicArray[uint64](n.s, n.name(), 2*pairsOf(len(n.arrays)))
	if err == nil {
		n.arrays, n.used = append(n.arrays, a), 0
	}
	return err
}

func hashOf(key string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key)) // it never fails
	return max(h.Sum64(), 1)
}

// get returns the number of a key, or 0.
func (n *numbers) get(key string) uint64 {
	if x, ok := n.places[hashOf(key)]; ok {
		return x.Load()
	}
	return 0
}

// of returns the number of a key. It is 0 if the key is a new one.
func (n *numbers) of(key string) (shm.Atomic[uint64], error) {
	hash := hashOf(key)
	if x, ok := n.places[hash]; ok {
		return x, nil
	}
	if len(n.arrays) == 0 || n.used == n.arrays[len(n.arrays)-1].Len()/2 {
		if err := n.addArray(); err != nil {
			return shm.Atomic[uint64]{}, err
		}
	}
	a := n.arrays[len(n.arrays)-1]
	x := a.At(2*n.used + 1)
	a.At(2 * n.used).Store(hash)
	n.used++
	n.places[hash] = x
	return x, nil
}

// forget makes all numbers 0.
func (n *numbers) forget() {
	for _, x := range n.places {
		x.Store(0)
	}
}
