//go:build race

package race

import (
	"runtime"
	"sync"
	"unsafe"
)

// Enabled reports whether this build has the race detector.
const Enabled = true

// Cells has the heap cell of each place in a file, and of each byte that a shadow has.
type Cells struct {
	mu     sync.Mutex
	cells  map[int64]*byte
	chunks map[int64]*chunk // by offset in the file
	ranges map[place]*cellRange
}

// chunk has the cells of chunkSize bytes of a file, from a multiple of it on.
type chunk [chunkSize]byte

const chunkSize = 4 << 10

// place is a range of bytes in a file.
type place struct {
	off int64
	n   int
}

// cellRange has the chunks in which the cells of a range are. There is one for each
// range, so that shadows can be compared.
type cellRange struct {
	chunks []*chunk
	first  int // where the range begins in the first chunk
}

// maxShadow is how many bytes of a value have a cell. A length may come from memory that
// others write.
const maxShadow = 64 << 20

func (c *Cells) cell(off int64) *byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cells == nil {
		c.cells = map[int64]*byte{}
	}
	if c.cells[off] == nil {
		// Eight bytes each: the detector reports on whole words.
		c.cells[off] = &new([8]byte)[0]
	}
	return c.cells[off]
}

// Token returns the token of the place at off bytes from the start of the file.
func (c *Cells) Token(off int64) Token { return Token{c.cell(off)} }

// Shadow returns the shadow of the n bytes at off bytes from the start of the file.
func (c *Cells) Shadow(off int64, n int) Shadow {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ranges == nil {
		c.ranges, c.chunks = map[place]*cellRange{}, map[int64]*chunk{}
	}
	n = min(n, maxShadow)
	at := place{off, n}
	if c.ranges[at] == nil {
		r := &cellRange{first: int(off % chunkSize)}
		for start := off - off%chunkSize; start < off+int64(n); start += chunkSize {
			if c.chunks[start] == nil {
				c.chunks[start] = new(chunk)
			}
			r.chunks = append(r.chunks, c.chunks[start])
		}
		c.ranges[at] = r
	}
	return Shadow{c.ranges[at], 0, n}
}

// Token reports the order that a lock or an atomic creates.
type Token struct{ cell *byte }

// Acquire reports that what was released before is visible now.
//
// SAFETY: the cell is a heap address, which the detector only compares. This
// holds for all functions below.
func (t Token) Acquire() { runtime.RaceAcquire(unsafe.Pointer(t.cell)) }

// Release reports that what happened before becomes visible after the next Acquire.
//
// SAFETY, here and below: as for Acquire.
func (t Token) Release() { runtime.RaceReleaseMerge(unsafe.Pointer(t.cell)) }

// Shadow reports accesses without synchronisation. The zero Shadow reports nothing. It
// can be compared, as the handles that have it can.
type Shadow struct {
	cells *cellRange
	at, n int // it is of these bytes of the range
}

// From returns the shadow of what begins at a byte of the range.
func (s Shadow) From(at int) Shadow {
	at = min(max(at, 0), s.n)
	return Shadow{s.cells, s.at + at, s.n - at}
}

// Read reports a read of n bytes of the range, from the byte at. It is not inlined: the
// detector's report shows its caller, and those above it.
//
//go:noinline
func (s Shadow) Read(at, n int) {
	for s = s.part(at, n); s.n > 0; {
		cell, length := s.next()
		runtime.RaceReadRange(unsafe.Pointer(cell), length)
		s = s.From(length)
	}
}

// Write reports a write as Read does a read.
//
//go:noinline
func (s Shadow) Write(at, n int) {
	for s = s.part(at, n); s.n > 0; {
		cell, length := s.next()
		runtime.RaceWriteRange(unsafe.Pointer(cell), length)
		s = s.From(length)
	}
}

// part returns the shadow of as many of n bytes as it has.
func (s Shadow) part(at, n int) Shadow {
	s = s.From(at)
	s.n = min(max(n, 0), s.n)
	return s
}

// next returns the first cell, and how many of the cells are in one piece.
func (s Shadow) next() (cell *byte, length int) {
	at := s.cells.first + s.at
	in := s.cells.chunks[at/chunkSize]
	return &in[at%chunkSize], min(s.n, chunkSize-at%chunkSize)
}
