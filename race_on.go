//go:build race

package shm

import (
	"runtime"
	"sync"
	"unsafe"
)

const raceEnabled = true

// The race detector ignores memory outside the Go heap: it sees neither a race
// on a shared value nor the order that a lock in shared memory makes. So each
// place in memory has a cell on the heap that stands for it, one for all
// mappings of the file in this process.
type raceCells struct {
	mu    sync.Mutex
	cells map[int64]*byte
}

// cell returns the stand-in for a place in memory.
func (c *raceCells) cell(off int64) *byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cells == nil {
		c.cells = map[int64]*byte{}
	}
	if c.cells[off] == nil {
		// A word apart, so that the detector tells neighbours apart.
		c.cells[off] = &new([8]byte)[0]
	}
	return c.cells[off]
}

func (c *raceCells) token(off int64) raceToken   { return raceToken{c.cell(off)} }
func (c *raceCells) shadow(off int64) raceShadow { return raceShadow{c.cell(off)} }

// raceToken orders accesses as a lock or an atomic does.
type raceToken struct{ cell *byte }

// SAFETY, here and below: a heap address, which is only compared.
func (t raceToken) acquire() { runtime.RaceAcquire(unsafe.Pointer(t.cell)) }
func (t raceToken) release() { runtime.RaceReleaseMerge(unsafe.Pointer(t.cell)) }

// raceShadow makes unsynchronised accesses visible.
type raceShadow struct{ cell *byte }

func (s raceShadow) read()  { runtime.RaceRead(unsafe.Pointer(s.cell)) }
func (s raceShadow) write() { runtime.RaceWrite(unsafe.Pointer(s.cell)) }
