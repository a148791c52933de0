//go:build !linux

package proc

import "errors"

// Words returns an error: other systems do not say on which words a thread sleeps.
func Words(int, Key) ([]int64, error) { return nil, errors.ErrUnsupported }
