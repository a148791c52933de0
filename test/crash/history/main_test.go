// Package history_test records what processes do at the same time to a Value, a
// Struct and a Mutex. Some of the processes are killed meanwhile. Porcupine then
// searches for an order of the operations, one after the other, that explains all
// that the processes saw.
package history_test

import (
	"testing"

	"example.org/shm/internal/shmtest"
)

func TestMain(m *testing.M) { shmtest.Main(m) }
