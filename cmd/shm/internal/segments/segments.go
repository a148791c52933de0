// Package segments finds the segments of a machine and attaches to them without
// disturbing the programs that use them.
package segments

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
)

// Dir is where segments are whose names are no paths: /dev/shm/ on Linux.
var Dir = filepath.Dir(shm.Path("x"))

// IsPath reports whether a name of a segment says where its file is, so that it may be
// anywhere.
func IsPath(name string) bool { return shm.Path(name) == name }

// magic is what the file of a segment begins with: see docs/FORMAT.md.
const magic = "\x93SHM\r\n\x1a\n"

// Look attaches to a segment for reading alone. It takes no lock and no lease, and
// makes no value. A segment of another user can be looked at by whoever may read it:
// what it says may be wrong, and is checked in any case.
func Look(name string) (*shm.Segment, error) {
	s, err := shm.Open(name, &shm.Options{ReadOnly: true})
	if errors.Is(err, shm.ErrInsecure) {
		return look(name, err)
	}
	return s, err
}

// look attaches to a file whose owner or mode shm.Open does not trust.
func look(name string, refusal error) (*shm.Segment, error) {
	path := shm.Path(name)
	f, err := openRead(path)
	if err != nil {
		return nil, refusal
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, refusal
	}
	return shm.OpenFile(f, &shm.Options{ReadOnly: true})
}

// Replaced returns an error that wraps shm.ErrReplaced if the name to which a segment was
// attached leads to another file by now, or to none. It is nil for the name "".
func Replaced(s *shm.Segment, name string) error {
	f := s.File()
	if f == nil || name == "" { // a segment without a name
		return nil
	}
	here, err := f.Stat()
	if err != nil {
		return err
	}
	there, err := os.Lstat(shm.Path(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s leads to no file any more", shm.ErrReplaced, form.Name(shm.Path(name)))
	case err != nil:
		return err
	case !os.SameFile(here, there):
		return fmt.Errorf("%w: %s leads to another file by now; start again to see that one", shm.ErrReplaced, form.Name(shm.Path(name)))
	}
	return nil
}

// Change attaches to a segment that exists, for changing values.
func Change(name string) (*shm.Segment, error) {
	return shm.Open(name, &shm.Options{MustExist: true})
}

// Names returns the names of all segments in Dir, sorted, and how many of its files could
// not be read.
func Names() (names []string, unread int, err error) {
	entries, err := os.ReadDir(Dir)
	if errors.Is(err, fs.ErrNotExist) { // the first segment makes it
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		switch is, err := isSegment(filepath.Join(Dir, e.Name())); {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
		case err != nil:
			unread++
		case is:
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, unread, nil
}

// isSegment reports whether a file begins as a segment does.
func isSegment(path string) (bool, error) {
	f, err := openRead(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	start := make([]byte, len(magic))
	if _, err := io.ReadFull(f, start); err != nil {
		return false, nil // too short
	}
	return string(start) == magic, nil
}

// File is what the system says of a segment's file.
type File struct {
	Path    string
	Size    int64 // that it claims
	Used    int64 // bytes of memory or disk that it takes
	Mode    fs.FileMode
	UID     uint32
	Dev     uint64
	Inode   uint64
	Changed int64 // nanoseconds since 1970
}
