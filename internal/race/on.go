//go:build race

package race

import (
	"runtime"
	"sync"
	"unsafe"
)

// Enabled reports whether this build has the race detector.
const Enabled = true

// Cells has the heap cell of each place in a file.
type Cells struct {
	mu    sync.Mutex
	cells map[int64]*byte
}

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

// Shadow returns the shadow of the place at off bytes from the start of the
// file.
func (c *Cells) Shadow(off int64) Shadow { return Shadow{c.cell(off)} }

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

// Shadow reports accesses without synchronisation.
type Shadow struct{ cell *byte }

// Read reports a read.
func (s Shadow) Read() { runtime.RaceRead(unsafe.Pointer(s.cell)) }

// Write reports a write. The zero Shadow reports nothing.
func (s Shadow) Write() {
	if s.cell != nil {
		runtime.RaceWrite(unsafe.Pointer(s.cell))
	}
}
