package sys_test

import (
	"os"
	"path/filepath"
	"testing"

	"example.org/shm/internal/shmtest"
)

func TestMain(m *testing.M) { shmtest.Main(m) }

// check ends the test if err is not nil.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// first is shmtest.Must for the first result of a call that returns three.
func first[T, U any](x T, _ U, err error) func(shmtest.TB) T { return shmtest.Must(x, err) }

// file creates a file of that size, open for reading and writing.
func file(t *testing.T, size int64) *os.File {
	t.Helper()
	f := shmtest.Opened(os.Create(filepath.Join(t.TempDir(), "file")))(t)
	check(t, f.Truncate(size))
	return f
}
