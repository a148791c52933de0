package shm

import (
	"fmt"
	"io/fs"
	"math"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/sys"
)

// Options say how a segment is created or attached. The zero value, and nil, mean:
// attach if the name exists, otherwise create it, for this user alone.
type Options struct {
	Mode      fs.FileMode // permission bits of a new segment, whatever the umask; an existing one must let no more users write, as its owner or by its mode; 0 means 0600
	MaxSize   int64       // bytes that a new segment can grow to, for which address space is reserved; 0 means 4 GiB (64 MiB on 32-bit systems)
	ReadOnly  bool        // map without write permission; the name must exist
	MustExist bool        // fail with fs.ErrNotExist instead of creating
	Exclusive bool        // fail with fs.ErrExist instead of attaching
	Foreign   bool        // memory that another program laid out, without a header: use the …At functions; it must exist
}

// check returns the options with defaults filled in.
func (o *Options) check() (Options, error) {
	var opt Options
	if o != nil {
		opt = *o
	}
	if opt.Mode == 0 {
		opt.Mode = 0o600
	}
	if opt.Mode&^fs.ModePerm != 0 {
		return opt, fmt.Errorf("%w: Options.Mode %#o has more than permission bits; write it in octal, such as 0660", fs.ErrInvalid, uint32(opt.Mode))
	}
	largest := min(format.MaxSegment, math.MaxInt-sys.PageSize)
	switch {
	case opt.MaxSize == 0 && math.MaxInt == math.MaxInt32:
		opt.MaxSize = mem.SmallReserve
	case opt.MaxSize == 0:
		opt.MaxSize = 4 << 30
	case opt.MaxSize < 0 || opt.MaxSize > largest:
		return opt, fmt.Errorf("%w: Options.MaxSize is %d; it must be from 0 to %d bytes", fs.ErrInvalid, opt.MaxSize, largest)
	}
	opt.MaxSize = max(format.FirstAllocation, (opt.MaxSize+sys.PageSize-1)/sys.PageSize*sys.PageSize)
	if opt.Exclusive && opt.attachOnly() {
		return opt, fmt.Errorf("%w: Options.Exclusive contradicts MustExist, ReadOnly and Foreign", fs.ErrInvalid)
	}
	return opt, nil
}

func (o *Options) attachOnly() bool { return o.MustExist || o.ReadOnly || o.Foreign }
