// Package errs holds the errors that several packages of this module return.
//
// It imports no other package of this module. Package shm exports each sentinel
// under a name of its own: ErrFormat is Format, and so on.
package errs

//lint:file-ignore ST1012 The name of the package says that these are errors, as in internal/oserror.

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
)

// Errors wrap one of these together with the path of the segment or the name of
// the value. Locks, and methods that cannot return an error, panic with it.
var (
	Format   = errors.New("shm: not a segment, or corrupt")         // the memory, or the format of a layout in it, is not what this package writes
	Version  = errors.New("shm: incompatible format version")       // a segment, but of another format version or byte order
	Insecure = errors.New("shm: not safe to attach")                // its owner, mode or file type lets others tamper with it
	Foreign  = errors.New("shm: not for this kind of memory")       // the operation needs named values and the memory is foreign, or the reverse
	Full     = errors.New("shm: segment is full")                   // no room is left below the maximum size, or no id for a lock owner
	Closed   = errors.New("shm: segment is closed")                 // the operation came after Close
	ReadOnly = errors.New("shm: segment is mapped read-only")       // the operation has to write
	Replaced = errors.New("shm: the name leads to another segment") // which has taken the place of this one
	TooLong  = errors.New("shm: value too long")                    // a string or name does not fit; nothing was changed
)

// descriptors is what a process is told that has too many files open.
var descriptors = fmt.Errorf("%w: close some, or raise the limit (ulimit -n)", syscall.EMFILE)

// Path returns an *fs.PathError.
func Path(op, path string, err error) error {
	if err == syscall.EMFILE {
		err = descriptors
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// Prefix is how the texts of this module's errors begin.
const Prefix = "shm: "

// wrapped is an error with a text before it.
type wrapped struct {
	what string
	err  error
}

// Wrap returns an error that says during what err occurred. Its text begins with
// Prefix and has it once, although the text of err may have it too.
func Wrap(err error, format string, args ...any) error {
	return &wrapped{fmt.Sprintf(format, args...), err}
}

func (w *wrapped) Error() string { return Prefix + w.what + ": " + Inner(w.err) }
func (w *wrapped) Unwrap() error { return w.err }

// Inner returns the text of an error without the prefixes of the errors in it.
func Inner(err error) string {
	text := strings.TrimPrefix(err.Error(), Prefix)
	for _, before := range []string{": ", " (", "\n"} {
		text = strings.ReplaceAll(text, before+Prefix, before)
	}
	return text
}

// Invalid formats an error that wraps fs.ErrInvalid.
func Invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", fs.ErrInvalid, fmt.Sprintf(format, args...))
}
