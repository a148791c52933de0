//go:build killpoints

package killpoint

import (
	"os"
	"strconv"
	"syscall"
)

// Enabled reports whether this build can kill itself.
const Enabled = true

// killAt is the point at which this process kills itself. killAfter is how many
// times it passes that point before.
var killAt, killAfter = func() (Point, int) {
	at, _ := strconv.Atoi(os.Getenv("SHM_KILL_AT"))
	after, _ := strconv.Atoi(os.Getenv("SHM_KILL_AFTER"))
	return Point(at), after
}()

// At kills the process if the environment variable SHM_KILL_AT has the number of
// this point, and if the process has passed the point SHM_KILL_AFTER times
// before. Only one goroutine at a time passes the points in the processes that
// tests kill.
func At(p Point) {
	if p != killAt {
		return
	}
	if killAfter--; killAfter >= 0 {
		return
	}
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		_ = self.Signal(syscall.SIGKILL)
	}
	select {} // until the signal arrives
}
