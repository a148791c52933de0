package shmtest

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// TB is the part of a testing.TB that most functions here need. A helper has no
// testing.TB and passes [InHelper].
type TB interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
	Context() context.Context
}

// InHelper stands for the test in a helper. Fatal ends the helper with an
// error. Functions passed to Cleanup do not run, since most helpers are killed;
// processes that a helper starts are killed by the system when it ends.
var InHelper TB = inHelper{}

type inHelper struct{}

func (inHelper) Helper() {}

func (inHelper) Fatal(args ...any) {
	fmt.Fprintf(os.Stderr, "helper %s: %s\n", os.Getenv(HelperVariable), fmt.Sprint(args...))
	os.Exit(1)
}

func (h inHelper) Fatalf(format string, args ...any) { h.Fatal(fmt.Sprintf(format, args...)) }
func (inHelper) Cleanup(func())                      {}
func (inHelper) Context() context.Context            { return context.Background() }

// Must returns x, or ends the test if err is not nil:
//
//	v := shmtest.Must(shm.NewAtomic[int64](s, "n", 0))(t)
func Must[T any](x T, err error) func(TB) T {
	return func(t TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
}

// Opened is Must for what has to be closed when the test ends:
//
//	s := shmtest.Opened(shm.Open(name, nil))(t)
//
// The error of Close is ignored, so that a test may close it itself.
func Opened[C io.Closer](c C, err error) func(TB) C {
	return func(t TB) C {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
}

// Error returns the error of a call that returns a value as well.
func Error[T any](_ T, err error) error { return err }

// Panic returns the value that f panics with, or nil if f returns.
func Panic(f func()) (value any) {
	defer func() { value = recover() }()
	f()
	return nil
}

// IsPathError reports whether err is a complete *fs.PathError for path. It does
// not look at wrapped errors.
func IsPathError(err error, path string) bool {
	e, ok := err.(*fs.PathError)
	return ok && e.Path == path && e.Err != nil && e.Op != ""
}

// WriteFile writes a file that only its owner may read and write.
func WriteFile(t TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
