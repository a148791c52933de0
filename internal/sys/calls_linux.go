package sys

import "golang.org/x/sys/unix"

// attempt makes an optional call, unless it is to be avoided. Then it returns what
// a system without the call returns.
func attempt(name string, call func() error) error {
	if Avoided(name) {
		return unix.ENOSYS
	}
	return call()
}
