package shm_test

import (
	"testing"

	"example.org/shm"
	"example.org/shm/internal/format"
)

// TestAccessIsTheFormats checks the numbers, since place.go converts one type into the
// other.
func TestAccessIsTheFormats(t *testing.T) {
	for public, internal := range map[shm.Access]format.Access{
		shm.AccessRaw: format.Raw, shm.AccessAtomic: format.Atomic, shm.AccessLocked: format.Locked, shm.AccessPublished: format.Published,
	} {
		if shm.Access(internal) != public {
			t.Errorf("%v is %d in the format, want %d", public, internal, public)
		}
	}
}
