//go:build linux || darwin || freebsd

package sys

// idMap is what a user namespace knows of the users or the groups of the system.
type idMap struct {
	complete bool
	overflow uint32 // stands for all others
}
