package bench

import (
	"errors"
	"fmt"
	"math/bits"
	"os/exec"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	kernel32    = windows.NewLazySystemDLL("kernel32.dll")
	procCounter = kernel32.NewProc("QueryPerformanceCounter")
)

var frequency = func() uint64 {
	var n uint64
	// SAFETY: the system writes the number before the call returns. It cannot fail.
	_, _, _ = kernel32.NewProc("QueryPerformanceFrequency").Call(uintptr(unsafe.Pointer(&n)))
	return max(n, 1)
}()

// monotonic returns the performance counter in nanoseconds, which all processes of the
// system share.
func monotonic() int64 {
	var count uint64
	// SAFETY: as above.
	_, _, _ = procCounter.Call(uintptr(unsafe.Pointer(&count)))
	high, low := bits.Mul64(count, 1e9)
	n, _ := bits.Div64(high%frequency, low, frequency)
	return int64(n)
}

// stopwatch returns a function that says how long ago stopwatch was called. Go's clock
// goes on in steps of up to 16 ms on Windows, which are longer than a batch.
func stopwatch() (elapsed func() time.Duration) {
	start := monotonic()
	return func() time.Duration { return time.Duration(monotonic() - start) }
}

// ownGroup does nothing: the script of Python needs fork, and ends at once.
func ownGroup(*exec.Cmd) {}

func terminateGroup(int) error { return errors.ErrUnsupported }

// kernel returns the name and the version of the operating system.
func kernel() string {
	v := windows.RtlGetVersion()
	return fmt.Sprintf("Windows %d.%d.%d", v.MajorVersion, v.MinorVersion, v.BuildNumber)
}
