package sys

import (
	"os"
	"sync"
)

// BootID returns a text that tells this boot of the system from others, or "" if the
// system does not say. A container may have one of its own. The first call may read a
// file.
func BootID() string { return bootID() }

var bootID = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(b)
})
