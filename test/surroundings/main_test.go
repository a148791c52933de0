// Package surroundings_test has what the system does to a segment or to its
// users: other users and permissions, limits of resources, full filesystems, files
// that are cut off or are no regular files, and boots. It also has what a process
// gives back to the system.
package surroundings_test

import (
	"testing"

	"example.org/shm/internal/shmtest"
)

func TestMain(m *testing.M) { shmtest.Main(m) }
