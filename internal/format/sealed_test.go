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

// A home differs with the boot, the file and the segment, and is never 0.
func TestHome(t *testing.T) {
	seen := map[uint64]bool{0: true}
	for _, boot := range []string{"", "a\n", "b\n"} {
		for _, inode := range []uint64{0, 1, 1 << 40} {
			for _, identity := range []uint64{0, 7, 1 << 63} {
				home := format.Home(boot, inode, identity)
				if seen[home] || home > format.SealedMax || home != format.Home(boot, inode, identity) {
					t.Errorf("boot %q, inode %d, identity %d: home %#x", boot, inode, identity, home)
				}
				seen[home] = true
			}
		}
	}
}
