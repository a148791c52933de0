//go:build (linux && shmportable) || darwin || freebsd

package sys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"example.org/shm/internal/errs"
)

// Reopen returns a file for locks: no other process shares those that are made through
// it, nor any other file of this process. It is a duplicate of f, or, if that permits only
// reading, path opened anew, provided that it still leads to the same file. The error
// wraps an *fs.PathError.
func Reopen(f *os.File, path string) (*os.File, error) { return reopen(f, path, false) }

// ReopenToRead is Reopen for reading only.
func ReopenToRead(f *os.File, path string) (*os.File, error) { return reopen(f, path, true) }

func reopen(f *os.File, path string, readOnly bool) (*os.File, error) {
	again, err := Duplicate(f, readOnly)
	if err == nil || !errors.Is(err, fs.ErrPermission) || !strings.Contains(path, "/") || path == AnonymousPath {
		return again, err
	}
	first := errs.Path("reopen", path, err)
	if again, err = OpenExisting(path, readOnly); err != nil {
		return nil, fmt.Errorf("%w; %w", first, err)
	}
	have, err1 := stat(again, path)
	want, err2 := stat(f, path)
	if err1 != nil || err2 != nil || keyOf(&have) != keyOf(&want) {
		return nil, CloseAfter(again, fmt.Errorf("%w; the path leads to another file now", first))
	}
	return again, nil
}
