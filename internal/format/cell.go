package format

import "sync/atomic"

// The data of a Counter, a Gauge and a Histogram are a CellHeader, the bounds of the
// histogram, and cells. Cell 0 belongs to nobody: processes that found no cell of their
// own share it.
const (
	Cells        = 64      // of a new value, besides cell 0
	MaxCells     = 1 << 16 // besides cell 0
	MaxBounds    = 1024    // of a histogram
	CellLine     = 128     // bytes to whose multiples cells and bounds are rounded up: processors fetch lines in pairs
	BucketOffset = 64      // of the first bucket, from the start of a cell
)

// CellHeader starts the data of a value with cells.
type CellHeader struct {
	High atomic.Uint64 // the highest number of a cell that a process has claimed, or was about to
	_    [CellLine - 8]byte
}

// Cell is what each cell begins with. The buckets of a histogram follow.
type Cell struct {
	Number atomic.Uint64 // the count; of a histogram: the sum
	Owner  atomic.Uint64 // id of the process, and Clean; 0: none
	Probed atomic.Int64  // when the owner was last probed
	_      [BucketOffset - 24]byte
}

// Clean is the bit of an owner that says that the number of its gauge is not 0 yet, but
// will be.
const Clean = 1 << 32

func roundToCell(n int64) int64 { return (n + CellLine - 1) / CellLine * CellLine }
