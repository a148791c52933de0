//go:build !(linux || darwin || freebsd || windows)

package sys

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"example.org/shm/internal/errs"
)

// Systems without an implementation: whatever would make a segment or attach to one
// returns errPlatform, so nothing that needs a mapping is ever called. Those functions
// are here for the compiler.

const sharedDir = "/tmp/" // there is no segment

var errPlatform = fmt.Errorf("shm: not implemented on %s: %w", runtime.GOOS, errors.ErrUnsupported)

// Files: see file_linux.go, trust_linux.go, create_linux.go, beside_linux.go,
// descriptor_linux.go, filesystem_linux.go, reserve_linux.go and dump_linux.go.

// OpenExisting fails on this system.
func OpenExisting(path string, _ bool) (*os.File, error) {
	return nil, errs.Path("open", path, errPlatform)
}

// CreateNamed fails on this system.
func CreateNamed(path string, _ fs.FileMode, _ []byte, _ int64) (*os.File, error) {
	return nil, errs.Path("create", path, errPlatform)
}

// CreateAnonymous fails on this system.
func CreateAnonymous([]byte, int64) (*os.File, error) {
	return nil, errs.Path("create", AnonymousPath, errPlatform)
}

// Identify fails on this system.
func Identify(_ *os.File, path string) (Key, int64, error) {
	return Key{}, 0, errs.Path("stat", path, errPlatform)
}

// FileSize fails on this system.
func FileSize(_ *os.File, path string) (int64, error) {
	return 0, errs.Path("stat", path, errPlatform)
}

// CheckNamed fails on this system.
func CheckNamed(_ *os.File, path string, _ fs.FileMode, _ bool) error {
	return errs.Path("open", path, errPlatform)
}

// InMemory returns false on this system.
func InMemory(*os.File) bool { return false }

// OmitFromDumps does nothing on this system.
func OmitFromDumps([]byte, bool) {}

// Reserve fails on this system.
func Reserve(_ *os.File, path string, _, _ int64) error {
	return errs.Path("allocate", path, errPlatform)
}

// Release does nothing on this system.
func Release(*os.File, int64, int64) {}

// Reopen fails on this system.
func Reopen(_ *os.File, path string) (*os.File, error) {
	return nil, errs.Path("reopen", path, errPlatform)
}

// ReopenToRead fails on this system.
func ReopenToRead(_ *os.File, path string) (*os.File, error) {
	return nil, errs.Path("reopen", path, errPlatform)
}

// Duplicate fails on this system.
func Duplicate(f *os.File, _ bool) (*os.File, error) {
	return nil, errs.Path("dup", f.Name(), errPlatform)
}

// Adopt fails on this system.
func Adopt(int, Key, string, bool) (*os.File, error) { return nil, errPlatform }

// Send fails on this system.
func Send(f *os.File) (*os.File, error) { return nil, errs.Path("socketpair", f.Name(), errPlatform) }

// Receive fails on this system.
func Receive(int, Key, string) (*os.File, error) { return nil, errPlatform }

// NewPlace fails on this system.
func NewPlace(fs.FileMode) (uint64, error) {
	return 0, errs.Path("create", AnonymousPath, errPlatform)
}

// Settle fails on this system.
func Settle(_ *os.File, path string, _ uint64, _ bool) (uint64, error) {
	return 0, errs.Path("open", path, errPlatform)
}

// Unsettle does nothing on this system.
func Unsettle(Key) {}

// CloseLocks closes f.
func CloseLocks(f *os.File) error { return f.Close() }

func mapped([]byte, *os.File) error { return errPlatform }
func unmapping([]byte)              {}
func flushed([]byte) error          { return errPlatform }

// Remove fails on this system.
func Remove(path string) error { return errs.Path("remove", path, errPlatform) }

// Byte locks: see bytelock_linux.go.

// TryLock fails on this system.
func TryLock(*os.File, int64) (bool, error) { return false, errPlatform }

// TryShared fails on this system.
func TryShared(*os.File, int64) (bool, error) { return false, errPlatform }

// AnyLock fails on this system.
func AnyLock(*os.File, int64, int64) (int64, int64, bool, error) { return 0, 0, false, errPlatform }

// WaitLock fails on this system.
func WaitLock(*os.File, int64) error { return errPlatform }

// Unlock does nothing on this system.
func Unlock(*os.File, int64) {}

// Obstacle fails on this system.
func Obstacle(*os.File, int64) (Lock, error) { return 0, errPlatform }

// ErrLocked is never returned on this system.
var ErrLocked = errPlatform

// Locked fails on this system.
func Locked(*os.File, int64, int64) (bool, error) { return true, errPlatform }

// LockedRange fails on this system.
func LockedRange(*os.File, int64, int64) (start, n int64, err error) { return 0, 0, errPlatform }

// LockedFast fails on this system.
func LockedFast(*os.File, int64) (bool, error) { return true, errPlatform }

// Words: see futex_linux.go.

// FutexWait does nothing on this system.
func FutexWait(*atomic.Uint32, uint32, uint32, time.Duration) {}

// FutexWaitChange does nothing on this system.
func FutexWaitChange(*atomic.Uint32, uint32, uint32, time.Duration) {}

// FutexWakeChanged wakes nobody on this system.
func FutexWakeChanged(*atomic.Uint32, ...uint32) {}

// FutexWake wakes nobody on this system.
func FutexWake(*atomic.Uint32, int, uint32) int { return 0 }

// FutexWaitAny fails on this system.
func FutexWaitAny([]Word, time.Duration) (bool, error) { return false, errPlatform }

// CanAsk returns false on this system.
func CanAsk() bool { return false }

// CanWaitAny returns false on this system.
func CanWaitAny() bool { return false }

// Clock and process: see clock_linux.go, bubble_linux.go, process_linux.go and death_linux.go.

// Monotonic returns the time of day on this system.
func Monotonic() int64 { return time.Now().UnixNano() }

// UnknownBubble is what Bubble never returns on this system.
const UnknownBubble = math.MaxUint64

// Bubble returns 0 on this system.
func Bubble() uint64 { return 0 }

// Pause sleeps for d.
func Pause(d time.Duration) { time.Sleep(d) }

// Clock returns Monotonic and false.
func Clock() (now int64, bubbled bool) { return Monotonic(), false }

// BootID returns "" on this system.
func BootID() string { return "" }

// PidNamespace returns 0 on this system.
func PidNamespace() uint64 { return 0 }

// Death is never made on this system.
type Death struct{}

// WatchPid returns nil on this system.
func WatchPid(int, uint64) *Death { return nil }

// Wait sleeps for d and returns false.
func (*Death) Wait(d time.Duration) bool { time.Sleep(d); return false }

// Exited returns false on this system.
func (*Death) Exited() bool { return false }

// Close does nothing.
func (*Death) Close() {}

// Scarcity: see scarcity_linux.go.

// OutOfMemory returns false on this system.
func OutOfMemory(error) bool { return false }

// OutOfDescriptors returns false on this system.
func OutOfDescriptors(error) bool { return false }

// Backend names this set of files: linux, portable (what POSIX has and little more), or
// none, which only compiles.
const Backend = "none"

// Asleep returns 0 on this system.
func Asleep(*atomic.Uint32) int { return 0 }
