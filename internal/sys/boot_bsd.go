//go:build darwin || freebsd

package sys

import (
	"sync"

	"golang.org/x/sys/unix"
)

// BootID returns a text that tells this boot of the system from others, or "" if the
// system does not say.
func BootID() string { return bootID() }

var bootID = sync.OnceValue(func() string {
	for _, name := range []string{"kern.bootsessionuuid", "kern.boot_id"} { // macOS, FreeBSD
		if id, err := unix.Sysctl(name); err == nil && id != "" {
			return id
		}
	}
	return ""
})
