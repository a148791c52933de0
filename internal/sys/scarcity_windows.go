package sys

import (
	"errors"

	"golang.org/x/sys/windows"
)

// OutOfMemory reports whether err says that memory or address space is short.
func OutOfMemory(err error) bool {
	return errors.Is(err, windows.ERROR_NOT_ENOUGH_MEMORY) || errors.Is(err, windows.ERROR_OUTOFMEMORY) || errors.Is(err, windows.ERROR_COMMITMENT_LIMIT)
}

// OutOfDescriptors reports whether err says that this process or the system has
// no handle left.
func OutOfDescriptors(err error) bool {
	return errors.Is(err, windows.ERROR_TOO_MANY_OPEN_FILES) || errors.Is(err, windows.ERROR_NO_SYSTEM_RESOURCES)
}

// retry calls f until no closed segment has a handle that f needs.
func retry(f func() error) error {
	for {
		err := f()
		if !(OutOfDescriptors(err) && Reclaim()) {
			return err
		}
	}
}
