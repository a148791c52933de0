//go:build linux || darwin || freebsd || windows

package sys

import (
	"bytes"
	"math"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"
)

// UnknownBubble is what Bubble returns where it cannot tell which bubble it is.
const UnknownBubble = math.MaxUint64

// Bubble returns a number that tells the bubble of package testing/synctest in which
// this goroutine runs from others, and 0 outside of bubbles, where it costs what
// time.Since costs. It never blocks.
func Bubble() uint64 {
	if !inBubble(time.Since(monotonicStart)) {
		return 0
	}
	// "goroutine 7 [running, synctest bubble 3]:"
	var b [128]byte
	header, _, _ := bytes.Cut(b[:runtime.Stack(b[:], false)], []byte("\n"))
	_, id, _ := bytes.Cut(header, []byte("synctest bubble "))
	digits := len(id) - len(bytes.TrimLeft(id, "0123456789"))
	if n, err := strconv.ParseUint(string(id[:digits]), 10, 64); err == nil && n != 0 {
		return n
	}
	return UnknownBubble
}

// Pause sleeps for about d of the system's time, also in a bubble. There it blocks the
// thread.
func Pause(d time.Duration) {
	if !inBubble(time.Since(monotonicStart)) {
		time.Sleep(d)
		return
	}
	var nobody atomic.Uint32
	FutexWait(&nobody, 0, AnyBit, d)
}
