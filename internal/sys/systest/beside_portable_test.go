//go:build (linux && shmportable) || darwin || freebsd

package systest_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// Where two cases of a name are one name, the temporary name that a creator has made from the
// one is known by the other too.
func TestTemporaryNameInAnotherCase(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "board")
	f := shmtest.Opened(sys.CreateNamed(path, 0o600, nil, size))(t)
	for _, c := range []struct {
		name string
		ours bool
	}{
		{".Board.01234567.new-segment", true}, {".board.01234567.new-segment", true},
		{".Boat.01234567.new-segment", false}, {".Board.0123456.new-segment", false},
	} {
		temp := filepath.Join(dir, c.name)
		if err := os.Link(path, temp); err != nil {
			t.Skip("this filesystem has no hard links: ", err)
		}
		err := sys.CheckNamed(f, path, 0o600, false)
		if (err == nil) != c.ours || err != nil && !errors.Is(err, errs.Insecure) {
			t.Errorf("the second name %s: %v", c.name, err)
		}
		if _, failed := os.Lstat(temp); (failed != nil) != c.ours {
			t.Errorf("the second name %s: removed %v", c.name, failed != nil)
		}
		_ = os.Remove(temp)
	}
}
