package format

import "sync/atomic"

// Sealed is a 64-bit word that holds a 40-bit number and 24 bits of check, so
// that the number changes by one store and yet a flipped byte is noticed.
type Sealed struct{ Word atomic.Uint64 }

// SealedMax is the largest number that a sealed word can hold.
const SealedMax = 1<<40 - 1

// Seal returns the word for a number of at most SealedMax.
func Seal(n uint64) uint64 {
	return n | (n*0x9E3779B97F4A7C15+0x5348)>>40<<40
}

// Unseal returns the number in a word. ok is false for a word that Seal did not
// make.
func Unseal(w uint64) (n uint64, ok bool) {
	n = w & SealedMax
	return n, Seal(n) == w
}

// Load reads the number. ok is false for a damaged word.
func (s *Sealed) Load() (n uint64, ok bool) { return Unseal(s.Word.Load()) }

// Store writes the number.
func (s *Sealed) Store(n uint64) { s.Word.Store(Seal(n)) }

// Bytes reads a size that is stored in lines, and returns it in bytes. ok is
// false for a damaged word and for a size above MaxSegment.
func (s *Sealed) Bytes() (n int64, ok bool) {
	u, ok := s.Load()
	return int64(u) * Line, ok && u <= MaxSegment/Line
}

// StoreBytes writes a size in bytes, a multiple of Line.
func (s *Sealed) StoreBytes(n int64) { s.Store(uint64(n / Line)) }
