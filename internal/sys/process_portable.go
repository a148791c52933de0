//go:build (linux && shmportable) || darwin || freebsd

package sys

import "time"

// PidNamespace returns 0: pids are the same for all processes, or the system does not say.
func PidNamespace() uint64 { return 0 }

// Death is never made: there is no portable way to learn of the death of a process that is
// no child.
type Death struct{}

// WatchPid returns nil.
func WatchPid(int, uint64) *Death { return nil }

// Wait sleeps for d and returns false. It is for a nil *Death.
func (*Death) Wait(d time.Duration) (exited bool) {
	time.Sleep(d)
	return false
}

// Exited returns false.
func (*Death) Exited() bool { return false }

// Close does nothing.
func (*Death) Close() {}
