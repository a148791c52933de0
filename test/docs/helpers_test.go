package docs_test

import (
	"path"
	"path/filepath"
	"slices"
	"testing"

	"example.org/shm/internal/shmtest"
)

// TestHelpersAreUsed looks in each directory for helpers that no test starts.
func TestHelpersAreUsed(t *testing.T) {
	var dirs []string
	for _, name := range filesNamed(t, "_test.go") {
		dirs = append(dirs, path.Dir(name))
	}
	slices.Sort(dirs)
	all := 0
	for _, dir := range slices.Compact(dirs) {
		n, unused, err := shmtest.UnusedHelpers(filepath.Join(shmtest.Root(t), dir))
		if err != nil {
			t.Error(err)
		}
		for _, name := range unused {
			t.Errorf("%s: no test starts the helper %s", dir, name)
		}
		all += n
	}
	if all < 30 {
		t.Errorf("only %d helpers were found", all)
	}
}
