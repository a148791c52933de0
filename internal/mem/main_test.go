package mem_test

import (
	"os"
	"path/filepath"
	"testing"

	"example.org/shm/internal/mem"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

func TestMain(m *testing.M) { shmtest.Main(m) }

// check ends the test if err is not nil.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// file creates a file of that size, open for reading and writing.
func file(t *testing.T, size int64) *os.File {
	t.Helper()
	f := shmtest.Opened(os.Create(filepath.Join(t.TempDir(), "file")))(t)
	check(t, f.Truncate(size))
	return f
}

// region maps a whole file. The mapping is gone after the test.
func region(t *testing.T, f *os.File, readOnly bool) *mem.Region {
	t.Helper()
	size := shmtest.Must(f.Stat())(t).Size()
	b := shmtest.Must(mem.Map(f, f.Name(), size, size, readOnly))(t)
	t.Cleanup(func() {
		if err := mem.Unmap(b); err != nil {
			t.Error(err)
		}
	})
	return &mem.Region{Bytes: b, Path: f.Name(), ReadOnly: readOnly}
}

// pages maps a new file of n pages.
func pages(t *testing.T, n int64) *mem.Region {
	t.Helper()
	return region(t, file(t, n*sys.PageSize), false)
}
