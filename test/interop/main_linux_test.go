// Package interop_test checks that programs in Go, C and Python work on the same
// segments, and compares shm with CPython's multiprocessing.
//
// The C side of the tests is c/test.c, the Python side is in python/tests. Tests
// that need gcc or an interpreter are skipped if there is none.
package interop_test

import (
	"testing"

	"example.org/shm/internal/shmtest"
)

func TestMain(m *testing.M) { shmtest.Main(m) }
