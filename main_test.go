package shm_test

import (
	"testing"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

func TestMain(m *testing.M) { shmtest.Main(m) }

func TestHelpersAreUsed(t *testing.T) {
	shmtest.Root(t)
	declared, unused, err := shmtest.UnusedHelpers(".")
	if err != nil || declared == 0 || len(unused) > 0 {
		t.Errorf("of %d helpers no test uses %v: %v", declared, unused, err)
	}
}

// open opens a segment, or ends the test. It closes the segment when the test
// ends.
func open(t testing.TB, name string, o *shm.Options) *shm.Segment {
	t.Helper()
	return shmtest.Opened(shm.Open(name, o))(t)
}
