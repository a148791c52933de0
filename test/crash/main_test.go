// Package crash_test kills and stops processes, at random and behind each store
// to shared memory, and looks at what the others then see.
//
// The tests use the public API of shm. Where they have to make or look at bytes
// as a dead process leaves them, they map the segment's file again: see package
// agent.
package crash_test

import (
	"testing"

	"example.org/shm/internal/shmtest"
)

func TestMain(m *testing.M) { shmtest.Main(m) }
