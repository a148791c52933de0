package shm_test

import (
	"testing"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

func TestMain(m *testing.M) { shmtest.Main(m) }

// open opens a segment, or ends the test. It closes the segment when the test
// ends.
func open(t testing.TB, name string, o *shm.Options) *shm.Segment {
	t.Helper()
	return shmtest.Opened(shm.Open(name, o))(t)
}
