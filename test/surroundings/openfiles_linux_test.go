package surroundings_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"golang.org/x/sys/unix"
)

// destitute opens segments while it may open no more files, and after that.
var destitute = shmtest.Helper("destitute", func(args []string) error {
	existing, fresh := args[0], args[1]
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: before.Max}); err != nil {
		return err
	}
	failures := map[string]error{
		"a new segment":       shmtest.Error(shm.Open(fresh, nil)),
		"an existing segment": shmtest.Error(shm.Open(existing, nil)),
		"reading one":         shmtest.Error(shm.Open(existing, &shm.Options{ReadOnly: true})),
		"an anonymous one":    shmtest.Error(shm.Anonymous(nil)),
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		return err
	}
	for what, err := range failures {
		if !errors.Is(err, syscall.EMFILE) || !strings.Contains(err.Error(), "raise the limit (ulimit -n)") {
			return fmt.Errorf("%s without descriptors: %w", what, err)
		}
	}
	for _, name := range []string{existing, fresh} {
		s, err := shm.Open(name, nil)
		if err != nil {
			return fmt.Errorf("with descriptors again: %w", err)
		}
		if err := s.Close(); err != nil {
			return err
		}
	}
	return shm.Remove(fresh)
})

// A process that may open no more files is told so and what to do. It leaves nothing half
// made, and goes on when it may open files again.
func TestOpenWithoutDescriptors(t *testing.T) {
	dir := t.TempDir()
	existing := dir + "/existing"
	s := shmtest.Opened(shm.Open(existing, nil))(t)
	_ = shmtest.Must(shm.NewValue[int64](s, "n", 0))(t)
	list := func() (names []string) {
		for _, e := range shmtest.Must(os.ReadDir(dir))(t) {
			names = append(names, e.Name())
		}
		return names
	}
	before := fmt.Sprint(list())
	p := shmtest.Start(t, destitute, existing, dir+"/fresh")
	p.Wait()
	if after := fmt.Sprint(list()); after != before {
		t.Errorf("the directory has %s, and had %s", after, before)
	}
}
