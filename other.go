//go:build !linux

package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync/atomic"
	"time"
)

// Only Linux is implemented so far. Elsewhere whatever would make or attach to a
// segment returns errPlatform, so nothing that needs a mapping is ever called:
// those functions are here for the compiler.

const shmDir = "/dev/shm/"

const anyBit = ^uint32(0)

var errPlatform = fmt.Errorf("shm: not implemented on %s: %w", runtime.GOOS, errors.ErrUnsupported)

func openExisting(path string, _ bool) (*os.File, error) {
	return nil, pathError("open", path, errPlatform)
}

func createNamed(path string, _ fs.FileMode, _ []byte) (*os.File, error) {
	return nil, pathError("create", path, errPlatform)
}

func createAnonymous([]byte) (*os.File, error) {
	return nil, pathError("create", anonymousPath, errPlatform)
}

func duplicate(f *os.File, _ bool) (*os.File, error) {
	return nil, pathError("dup", f.Name(), errPlatform)
}

func adopt(int, inodeKey, string, bool) (*os.File, error) { return nil, errPlatform }

func unlink(string) error { return errPlatform }

func closeAfter(f *os.File, err error) error { return errors.Join(err, f.Close()) }

func identify(*os.File, string) (struct{}, error)             { return struct{}{}, errPlatform }
func identity(*os.File, string) (inodeKey, int64, error)      { return inodeKey{}, 0, errPlatform }
func fileSize(*os.File, string) (int64, error)                { return 0, errPlatform }
func checkNamed(*os.File, string, fs.FileMode) error          { return errPlatform }
func reserve(*os.File, string, int64, int64) error            { return errPlatform }
func outOfMemory(error) bool                                  { return false }
func leased(*os.File, uint32) bool                            { return true }
func bootID() uint64                                          { return 0 }
func monotonic() int64                                        { return time.Now().UnixNano() }
func futexWait(*atomic.Uint32, uint32, uint32, time.Duration) {}
func futexWaitAny([]awaitedWord, time.Duration) (bool, error) { return false, errPlatform }
func canWaitAny() bool                                        { return false }
func futexWake(*atomic.Uint32, int, uint32) int               { return 0 }

func (m *mapping) prepareLocks(*os.File) error             { return errPlatform }
func (m *mapping) lockAllocation(*os.File) (func(), error) { return nil, errPlatform }
func (m *mapping) recoverBoot(*os.File) error              { return errPlatform }
func (m *mapping) alive(uint32) bool                       { return true }
func (m *mapping) watchDeath(uint32) *deathHint            { return nil }

type deathHint struct{}

func (*deathHint) wait(d time.Duration) bool { time.Sleep(d); return false }
func (*deathHint) close()                    {}
