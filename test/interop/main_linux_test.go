// Package interop_test checks that programs in Go, C and Python work on the same
// segments, and compares shm with CPython's multiprocessing.
//
// The C side of the tests is c/test.c, the Python side is in python/tests. Tests
// that need gcc or an interpreter are skipped if there is none.
package interop_test

import (
	"flag"
	"testing"

	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
)

func TestMain(m *testing.M) {
	// These tests wait more than they compute: for time-outs, and for processes that
	// hold a lock. By default as many run at a time as there are processors. Under the
	// race detector they compute more.
	if !race.Enabled {
		if err := flag.Set("test.parallel", "6"); err != nil {
			panic(err)
		}
	}
	shmtest.Main(m)
}
