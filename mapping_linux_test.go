package shm

import (
	"errors"
	"os"
	"testing"

	"example.org/shm/internal/shmtest"
)

// The last step of Open touches memory whose file another program may have cut off
// since Open has read the header.
func TestPrepareAfterTheFileWasCutOff(t *testing.T) {
	name := shmtest.Name(t)
	s := shmtest.Opened(Open(name, nil))(t)
	if err := os.Truncate(Path(name), 0); err != nil {
		t.Fatal(err)
	}
	if err := s.m.Load().prepare(s.File(), nil); !errors.Is(err, ErrFormat) || !shmtest.IsPathError(err, Path(name)) {
		t.Errorf("%v, want an ErrFormat that names the path", err)
	}
}
