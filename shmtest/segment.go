package shmtest

import (
	"errors"
	"path/filepath"
	"testing"

	"example.org/shm"
)

// Segment returns a new segment for the test, which no other test shares. It is closed
// when the test ends, and nothing of it is left. It is anonymous, and where the system
// refuses that, a file in t.TempDir.
//
// Options that ask for a segment that exists (MustExist, ReadOnly, Foreign) end the
// test. For a second attachment, also a read-only one, call shm.OpenFile(s.File(), …).
// The test is skipped on systems that package shm does not support.
func Segment(t testing.TB, o *shm.Options) *shm.Segment {
	t.Helper()
	s, err := shm.Anonymous(o)
	if errors.Is(err, errors.ErrUnsupported) {
		s, err = shm.Open(filepath.Join(t.TempDir(), "segment"), o)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("shmtest: no segment can be made here: %v", err)
	}
	if err != nil {
		t.Fatalf("shmtest: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, shm.ErrClosed) {
			t.Errorf("shmtest: %v", err)
		}
	})
	return s
}
