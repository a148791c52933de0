package shmtest_test

import (
	"syscall"

	"example.org/shm/internal/shmtest"
)

// refusePtrace makes the system refuse to trace processes, from now on.
func refusePtrace() error { return shmtest.Refuse(syscall.EPERM, "ptrace") }
