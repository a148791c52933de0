//go:build unix

package segments

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"example.org/shm"
)

// PathMark says what a name has that is a path.
const PathMark = "a slash"

// openRead opens a file that may be anything: it neither follows a link nor waits for
// the other end of a pipe.
func openRead(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
}

// Stat returns what the system says of the file of a segment's name.
func Stat(name string) (File, error) {
	path, err := filepath.Abs(shm.Path(name))
	if err != nil {
		return File{}, err
	}
	st, err := os.Lstat(path)
	if err != nil {
		return File{}, err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return File{}, fmt.Errorf("%s: %w", path, errors.ErrUnsupported)
	}
	return File{
		Path: path, Size: st.Size(), Used: int64(sys.Blocks) * 512, Mode: st.Mode(), UID: sys.Uid,
		Dev: uint64(sys.Dev), Inode: uint64(sys.Ino), Changed: st.ModTime().UnixNano(),
	}, nil
}
