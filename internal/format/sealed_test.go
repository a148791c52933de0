package format_test

import (
	"testing"

	"example.org/shm/internal/format"
)

func TestSealed(t *testing.T) {
	var s format.Sealed
	for _, n := range []uint64{0, 1, 516, 1 << 39, format.SealedMax} {
		s.Store(n)
		if got, ok := s.Load(); got != n || !ok {
			t.Errorf("%d reads as %d, %v", n, got, ok)
		}
		for bit := range 64 {
			if _, ok := format.Unseal(format.Seal(n) ^ 1<<bit); ok {
				t.Errorf("%d with bit %d flipped is accepted", n, bit)
			}
		}
	}
	s.StoreBytes(format.MaxSegment)
	if n, ok := s.Bytes(); n != format.MaxSegment || !ok {
		t.Errorf("the largest segment reads as %d, %v", n, ok)
	}
	s.StoreBytes(format.MaxSegment + format.Line)
	if n, ok := s.Bytes(); ok {
		t.Errorf("%d bytes are accepted", n)
	}
}

// TestBootStamp: an unknown boot stays unknown, and a known one never looks
// unknown.
func TestBootStamp(t *testing.T) {
	for id, want := range map[uint64]uint64{0: 0, 1: 1, 1 << 40: 1, 6: 7, 1<<64 - 1: format.SealedMax} {
		if got := format.BootStamp(id); got != want {
			t.Errorf("boot id %#x is %#x, want %#x", id, got, want)
		}
	}
}
