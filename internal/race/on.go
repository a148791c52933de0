//go:build race

package race

import (
	"runtime"
	"sync"
	"unsafe"
)

// Enabled reports whether this build has the race detector.
const Enabled = true

// Cells has the heap cell of each place in a file, and of each range of bytes.
type Cells struct {
	mu     sync.Mutex
	cells  map[int64]*byte
	ranges map[place][]byte
}

// place is a range of bytes in a file.
type place struct {
	off int64
	n   int
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
// Accesses through two ranges are compared only if the ranges are the same.
func (c *Cells) Shadow(off int64, n int) Shadow {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ranges == nil {
		c.ranges = map[place][]byte{}
	}
	at := place{off, n}
	if c.ranges[at] == nil {
		c.ranges[at] = make([]byte, (min(n, maxShadow)+7)/8*8)
	}
	return shadowOf(c.ranges[at])
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
	first *byte // of n cells
	n     int
}

func shadowOf(cells []byte) Shadow { return Shadow{unsafe.SliceData(cells), len(cells)} }

// From returns the shadow of what begins at a byte of the range.
func (s Shadow) From(at int) Shadow { return shadowOf(s.part(at, s.n)) }

// Read reports a read of n bytes of the range, from the byte at. It is not inlined: the
// detector's report shows its caller, and those above it.
//
//go:noinline
func (s Shadow) Read(at, n int) {
	if part := s.part(at, n); len(part) > 0 {
		runtime.RaceReadRange(unsafe.Pointer(unsafe.SliceData(part)), len(part))
	}
}

// Write reports a write as Read does a read.
//
//go:noinline
func (s Shadow) Write(at, n int) {
	if part := s.part(at, n); len(part) > 0 {
		runtime.RaceWriteRange(unsafe.Pointer(unsafe.SliceData(part)), len(part))
	}
}

// part returns as many of the n cells as there are.
func (s Shadow) part(at, n int) []byte {
	start := min(max(at, 0), s.n)
	// SAFETY: shadowOf has taken both from one slice.
	return unsafe.Slice(s.first, s.n)[start:min(max(at+n, start), s.n)]
}
