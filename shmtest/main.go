package shmtest

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/sys/trace"
)

// variable is the environment variable that says what a process is to run:
// how, name of the segment, function; see Main.
const variable = "SHMTEST_RUN"

// How a child runs the function.
const (
	plain  = "plain"
	traced = "traced"
)

// readyFD is the descriptor to which a plain child writes when it is about to call the
// function.
const readyFD = 3

// mainCalled says that children of this process will call Main too.
var mainCalled atomic.Bool

// Main runs the tests, as m.Run does, and returns. In a process that [Process],
// [States] or [Kill] has started it runs their function instead, and ends the process.
// TestMain calls it, before it prepares anything that the function does not need.
func Main(m *testing.M) {
	work, ok := os.LookupEnv(variable)
	if !ok {
		mainCalled.Store(true)
		go serve()
		m.Run()
		return
	}
	// What the function starts is no child of this kind.
	_ = os.Unsetenv(variable)
	if !flag.Parsed() {
		flag.Parse()
	}
	if err := runChild(work); err != nil {
		fmt.Fprintf(os.Stderr, "shmtest: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runChild does what childCommand has asked for.
func runChild(work string) error {
	how, rest, _ := strings.Cut(work, " ")
	length, rest, _ := strings.Cut(rest, " ")
	var n int
	if _, err := fmt.Sscan(length, &n); err != nil || n > len(rest) {
		return fmt.Errorf("%s=%q in the environment is not from this package", variable, work)
	}
	name := rest[:n]
	described, err := parseFunction(strings.TrimPrefix(rest[n:], " "))
	if err != nil {
		return err
	}
	f, err := described.find()
	if err != nil {
		return err
	}
	s, err := shm.Inherited(name, nil)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, shm.ErrReadOnly) {
		s, err = shm.Inherited(name, &shm.Options{ReadOnly: true})
	}
	if err != nil {
		return err
	}
	if how == traced {
		trace.Begin()
		runFunction(f, s)
		trace.End()
		return errors.New("nobody traces this process")
	}
	ready := os.NewFile(readyFD, "ready")
	if _, err := ready.Write([]byte{1}); err != nil {
		return err
	}
	if err := ready.Close(); err != nil {
		return err
	}
	runFunction(f, s)
	return nil
}

// runFunction calls f. If f ends its goroutine, which is that of TestMain, it ends the process:
// otherwise the process would be there as long as any other goroutine is.
func runFunction(f func(*shm.Segment), s *shm.Segment) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if p := recover(); p != nil {
			panic(p)
		}
		fmt.Fprintln(os.Stderr, "shmtest: the function called runtime.Goexit, as FailNow of a *testing.T does: it has to return, or to panic")
		os.Exit(1)
	}()
	f(s)
	returned = true
}
