package format

const (
	Line       = 64      // bytes of a cache line: records, lock cells and slots start on one
	MaxSegment = 1 << 45 // bytes; far below LeaseBase, and its lines fit in a sealed word
)

// RoundUp rounds a size in bytes up to a multiple of Line.
func RoundUp(n int64) int64 { return (n + Line - 1) / Line * Line }
