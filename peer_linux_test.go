package shm

import (
	"errors"
	"os"
	"testing"
)

// TestPeerBreaksWhatWasValid breaks a segment while it is attached: calls fail,
// and nothing is read out of bounds.
func TestPeerBreaksWhatWasValid(t *testing.T) {
	doing := watchdog(t)
	for _, c := range []struct {
		name  string
		spoil func(h *header, f *os.File)
	}{
		{"used is no number", func(h *header, _ *os.File) { h.used.word.Add(1) }},
		{"used is beyond the file", func(h *header, _ *os.File) { h.used.storeBytes(1 << 30) }},
		{"used is beyond the mapping", func(h *header, _ *os.File) { h.used.storeBytes(1 << 44) }},
		{"used has shrunk", func(h *header, _ *os.File) { h.used.storeBytes(headerSize) }},
		{"zeros are used", func(h *header, _ *os.File) { n, _ := h.used.bytes(); h.used.storeBytes(n + 640) }},
		{"allocated is no number", func(h *header, _ *os.File) { h.allocated.word.Add(1) }},
		{"allocated is beyond the file", func(h *header, _ *os.File) { h.allocated.storeBytes(1 << 40) }},
		{"dirty is no number", func(h *header, _ *os.File) { h.dirty.word.Add(1) }},
		{"dirty is beyond the file", func(h *header, _ *os.File) { h.dirty.storeBytes(1 << 30) }},
		{"dirty is beyond the mapping", func(h *header, _ *os.File) { h.dirty.storeBytes(1 << 44) }},
		{"cut", func(h *header, f *os.File) {
			n, _ := h.used.bytes()
			h.used.storeBytes(n + 1<<15)
			if err := f.Truncate(n + 100); err != nil {
				t.Error(err)
			}
		}},
	} {
		doing(c.name)
		s := open(t, testName(t), nil)
		v := must(NewRawValue(s, "first", int64(1)))(t)
		c.spoil(s.m.Load().header, s.File())
		_, err := NewRawArray[int64](s, "big", 1<<17)
		if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrFull) {
			t.Errorf("%s: %v", c.name, err)
		}
		for range s.Entries() {
		}
		s.Lookup("big")
		if n := s.Size(); n < 0 || n > 4<<30 {
			t.Errorf("%s: size %d", c.name, n)
		}
		if v.Get() != 1 {
			t.Errorf("%s: the value has gone", c.name)
		}
	}
}
