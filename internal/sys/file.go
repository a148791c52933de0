package sys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// AnonymousPath stands for the path of a segment without a name in errors and
// in os.File.Name.
const AnonymousPath = "anonymous segment"

// PageSize is the size in bytes of a page of memory, the unit of mappings.
var PageSize = int64(os.Getpagesize())

// Key identifies a file on this system while it is open anywhere or has a name.
type Key struct{ Dev, Ino uint64 }

// String returns the two numbers in decimal with a colon between them.
func (k Key) String() string { return fmt.Sprintf("%d:%d", k.Dev, k.Ino) }

// CloseAfter closes f because of err. It returns err itself, or err joined with
// the error of the close.
func CloseAfter(f *os.File, err error) error {
	if failed := f.Close(); failed != nil {
		return errors.Join(err, failed)
	}
	return err // itself, a *fs.PathError: errors.Join would wrap it
}

// tooLong returns the error for a name that is too long.
func tooLong(name string) error {
	return fmt.Errorf("%w: the name has %d bytes (%w)", fs.ErrInvalid, len(name), syscall.ENAMETOOLONG)
}
