//go:build !linux

package doctor

import "runtime"

// Examine says that there are no segments on this system.
func Examine() []Finding {
	return []Finding{{"system", Bad, runtime.GOOS, "segments need Linux"}}
}
