package shm

import (
	"example.org/shm/internal/format"
	"example.org/shm/internal/slots"
)

// A Struct and a String are published values: they keep two slots, of which a
// writer fills the idle one and commits it by one store. Package slots has the
// protocol.

// readSlotsOf returns the slots of a published value for reading alone. That
// needs no lease.
func (m *mapping) readSlotsOf(r *format.Record) *slots.Pair {
	return slots.At(&m.region, r, m.file.cells.Token(r.Data))
}

// slotsOf returns the slots of a published value for reading and writing.
func (m *mapping) slotsOf(r *format.Record) *slots.Pair {
	p := m.readSlotsOf(r)
	p.Lock = m.lockOf(r)
	return p
}
