package broker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// take makes a directory, if there is none, and takes the lock of it, which ends with the
// file that take returns, or with the process. Two servers in one directory would write
// the same files. The error wraps ErrStore if another server has the lock.
func take(dir string) (*os.File, error) {
	err := os.MkdirAll(dir, 0o700)
	if err != nil {
		return nil, fmt.Errorf("embedded server's directory: %w", err)
	}
	f, err := lockFile(filepath.Join(dir, ".lock"))
	if errors.Is(err, errLocked) {
		return nil, fmt.Errorf("%s: %w; give this one a directory of its own with -store", dir, ErrStore)
	}
	if err != nil {
		return nil, fmt.Errorf("embedded server's directory: %w", err)
	}
	try, err := os.CreateTemp(dir, ".try-*")
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("embedded server's directory: %w", err)
	}
	_ = try.Close()
	if err := os.Remove(try.Name()); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("embedded server's directory: %w", err)
	}
	return f, nil
}

// errLocked says that another file object has the lock.
var errLocked = errors.New("locked")
