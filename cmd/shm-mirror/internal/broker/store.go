package broker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// ErrStore says that another server, of this process or another one, keeps its data in a
// directory.
var ErrStore = errors.New("the directory is in use by another embedded server")

// Store returns the usual directory of an embedded server's data.
func Store() (string, error) {
	base := os.Getenv("XDG_STATE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("no directory for the embedded server's data: %w; give one", err)
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "shm-mirror"), nil
}

// take makes a directory, if there is none, and takes the lock of it, which ends with Close
// of what take returns, or with the process. Two servers in one directory would write the
// same files. The error wraps ErrStore if another server has the lock.
func take(dir string) (_ *flock.Flock, err error) {
	defer func() {
		if err != nil && !errors.Is(err, ErrStore) {
			err = fmt.Errorf("embedded server's directory: %w", err)
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock := flock.New(filepath.Join(dir, ".lock"))
	switch free, err := lock.TryLock(); {
	case err != nil:
		return nil, err
	case !free:
		return nil, fmt.Errorf("%s: %w; give this one a directory of its own with -store", dir, ErrStore)
	}
	try, err := os.CreateTemp(dir, ".try-*")
	if err == nil {
		_ = try.Close()
		err = os.Remove(try.Name())
	}
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	return lock, nil
}
