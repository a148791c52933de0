//go:build (linux && shmportable) || darwin || freebsd

package sys

import "os"

// reserve allocates the bytes from off to end. After an error only those from at on are
// certain not to be allocated.
func reserve(f *os.File, off, end int64) (at int64, err error) {
	const step = 16 << 20
	for at = off; at < end; at += step {
		n := min(step, end-at)
		if err := fill(f, at, n); err != nil {
			return at + n, err
		}
	}
	return end, nil
}

// Release makes n bytes from off on zeros. The file keeps their space: there is no portable
// way to give back space inside a file.
func Release(f *os.File, off, n int64) {
	info, err := f.Stat()
	if err != nil {
		return
	}
	zeros := make([]byte, min(max(n, 0), 1<<20))
	for end := min(off+n, info.Size()); off < end; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), end-off)], off); err != nil {
			return
		}
	}
}
