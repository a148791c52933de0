package shm

import (
	"fmt"
	"io/fs"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/sys"
)

// foreign checks that n elements of a size and alignment from off on are inside
// a foreign segment.
func (s *Segment) foreign(off int64, n int, elem, align int64) (*mapping, error) {
	m, err := s.attachedMapping()
	if err != nil {
		return nil, err
	}
	if m.header != nil {
		return nil, fmt.Errorf("%w: %s was not opened with Options.Foreign", ErrForeign, s.label())
	}
	// The file may have shrunk since it was mapped. An access past its end would be
	// a fault.
	end, err := sys.FileSize(s.file, m.region.Path)
	if err != nil {
		return nil, err
	}
	end = min(end, int64(len(m.region.Bytes)))
	switch {
	case n <= 0 || int64(n) > end/elem:
		err = fmt.Errorf("%d elements of %d bytes in %d bytes", n, elem, end)
	case off < 0 || off > end-int64(n)*elem:
		err = fmt.Errorf("%d bytes at offset %d are not inside its %d bytes", int64(n)*elem, off, end)
	case off%align != 0:
		err = fmt.Errorf("offset %d is not aligned to %d bytes", off, align)
	default:
		return m, nil
	}
	return nil, errs.Wrap(fmt.Errorf("%w: %w", fs.ErrInvalid, err), "%s", s.label())
}
