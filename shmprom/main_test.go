package shmprom_test

import (
	"testing"

	"example.org/shm/shmtest"
)

func TestMain(m *testing.M) { shmtest.Main(m) }
