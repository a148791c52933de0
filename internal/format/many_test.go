package format_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/layout"
)

// A record that claims more rows, locks or integers than there is room for is refused.
func TestForgedCounts(t *testing.T) {
	for name, s := range map[string]format.Shape{
		"rows":    {Layout: layoutOf[[3]int64](t), Access: format.Published, Kind: format.KindArray},
		"locks":   {Access: format.Locked, Kind: format.KindMutex},
		"numbers": {Layout: layoutOf[int64](t), Access: format.Atomic, Kind: format.KindArray},
	} {
		s.Name, s.Count = name, 9
		meta, size := s.Encode(s.Room(), format.Maker{}, 0)
		record := make([]byte, size)
		for _, n := range []uint64{9, 0, 1, 8, 10, 1000, 1 << 31, 1 << 32, 1<<32 + 9, 1 << 57, 1 << 58, 1 << 62, 1 << 63, 1<<64 - 1} {
			binary.NativeEndian.PutUint64(meta[16:], n)
			binary.NativeEndian.PutUint32(meta[format.RecordCheck:], format.RecordChecksum(meta))
			copy(record, meta)
			_, _, err := format.Decode(record, 0, size, map[string]*layout.Layout{})
			fewer := name == "numbers" && (n == 1 || n == 8) // the capacity may be more than is needed
			if accepted := err == nil; accepted != (n == 9 || fewer) || !accepted && !errors.Is(err, errs.Format) {
				t.Errorf("%s: a record of 9 that claims %d: %v", name, n, err)
			}
		}
	}
}
