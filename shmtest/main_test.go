package shmtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"example.org/shm"
	"example.org/shm/shmtest"
)

func TestMain(m *testing.M) { shmtest.Main(m) }

// must returns x, or panics. It is for functions that run in another process too.
func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}

// fake is a test whose failures are what a test of this package wants. Fatalf and Skipf
// end the goroutine, so run calls what uses it in one of its own.
type fake struct {
	testing.TB
	failed, skipped string
}

func (f *fake) Errorf(format string, args ...any) { f.failed += fmt.Sprintf(format, args...) + "\n" }
func (f *fake) Error(args ...any)                 { f.failed += fmt.Sprint(args...) + "\n" }
func (f *fake) Fatalf(format string, args ...any) { f.Errorf(format, args...); panic(errEnded) }
func (f *fake) Fatal(args ...any)                 { f.Error(args...); panic(errEnded) }
func (f *fake) Skipf(format string, args ...any) {
	f.skipped = fmt.Sprintf(format, args...)
	panic(errEnded)
}

var errEnded = errors.New("the test has ended")

// failure calls f with a test of its own and returns what it reports. It skips the test
// if f does.
func failure(t *testing.T, f func(t testing.TB)) string {
	t.Helper()
	inner := &fake{TB: t}
	func() {
		defer func() {
			if p := recover(); p != nil && p != errEnded {
				panic(p)
			}
		}()
		f(inner)
	}()
	if inner.skipped != "" {
		t.Skip(inner.skipped)
	}
	return inner.failed
}

// wantFailure checks that a report has all of the words.
func wantFailure(t *testing.T, report string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(report, w) {
			t.Errorf("the report is %q, want it to have %q", report, w)
		}
	}
}

// await waits until a number that another process changes is at least n.
func await(t testing.TB, v shm.Value[int64], n int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := v.Await(ctx, func(x int64) bool { return x >= n }); err != nil {
		t.Fatal(err)
	}
}

// remains reports whether a process is there and not a zombie.
func remains(pid int64) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}
