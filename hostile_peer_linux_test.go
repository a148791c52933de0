package shm_test

import (
	"errors"
	"os"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// TestPeerBreaksWhatWasValid breaks a segment while it is attached: methods
// return errors, and what was attached stays readable. The test of that name in
// internal/directory has each way to break one at its level.
func TestPeerBreaksWhatWasValid(t *testing.T) {
	doing := shmtest.Watchdog(t)
	for _, c := range []struct {
		name  string
		spoil func(h *format.Header, f *os.File)
	}{
		{"used is no number", func(h *format.Header, _ *os.File) { h.Used.Word.Add(1) }},
		{"used is beyond the file", func(h *format.Header, _ *os.File) { h.Used.StoreBytes(1 << 30) }},
		{"used is beyond the mapping", func(h *format.Header, _ *os.File) { h.Used.StoreBytes(1 << 44) }},
		{"used has shrunk", func(h *format.Header, _ *os.File) { h.Used.StoreBytes(format.HeaderSize) }},
		{"zeros are used", func(h *format.Header, _ *os.File) { n, _ := h.Used.Bytes(); h.Used.StoreBytes(n + 640) }},
		{"allocated is no number", func(h *format.Header, _ *os.File) { h.Allocated.Word.Add(1) }},
		{"allocated is beyond the file", func(h *format.Header, _ *os.File) { h.Allocated.StoreBytes(1 << 40) }},
		{"dirty is no number", func(h *format.Header, _ *os.File) { h.Dirty.Word.Add(1) }},
		{"dirty is beyond the file", func(h *format.Header, _ *os.File) { h.Dirty.StoreBytes(1 << 30) }},
		{"dirty is beyond the mapping", func(h *format.Header, _ *os.File) { h.Dirty.StoreBytes(1 << 44) }},
		{"cut", func(h *format.Header, f *os.File) {
			n, _ := h.Used.Bytes()
			h.Used.StoreBytes(n + 1<<15)
			if err := f.Truncate(n + 100); err != nil {
				t.Error(err)
			}
		}},
	} {
		doing(c.name)
		s := shmtest.Opened(shm.Open(shmtest.Name(t), nil))(t)
		v := shmtest.Must(shm.NewRawValue(s, "first", int64(1)))(t)
		c.spoil(agent.Header(t, s), s.File())
		err := shmtest.Error(shm.NewRawArray[int64](s, "big", 1<<17))
		if !errors.Is(err, shm.ErrFormat) && !errors.Is(err, shm.ErrFull) {
			t.Errorf("%s: %v", c.name, err)
		}
		for range s.Entries() {
		}
		s.Lookup("big")
		if n := s.Size(); n < 0 || n > 4<<30 {
			t.Errorf("%s: the size is %d", c.name, n)
		}
		if v.Get() != 1 {
			t.Errorf("%s: the value has changed", c.name)
		}
	}
}
