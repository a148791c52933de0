//go:build linux || darwin || freebsd

package sys

import (
	"errors"
	"os"
)

// fill reserves space where fallocate is missing, by writing zeros past the end of
// the file. What lies before the end is there already.
func fill(f *os.File, off, n int64) error {
	info, err := f.Stat()
	if err != nil {
		return errors.Unwrap(err)
	}
	zeros := make([]byte, min(n, 1<<20))
	for at := max(off, info.Size()); at < off+n; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), off+n-at)], at); err != nil {
			return errors.Unwrap(err)
		}
	}
	return nil
}
