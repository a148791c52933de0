package directory

import (
	"example.org/shm/internal/format"
	"example.org/shm/internal/layout"
	"example.org/shm/internal/mem"
)

// Holds reports whether the owner with that id holds a lock of the segment in memory, or
// counts in one of its gauges. It looks at every value up to the first that is damaged.
func Holds(memory []byte, id uint32) (held bool) {
	region := mem.Region{Bytes: memory}
	d := Directory{region: &region, header: mem.At[format.Header](&region, 0), layouts: map[string]*layout.Layout{}}
	_ = d.locked(func() error { // after a fault nothing is held: the file was cut off
		used, _ := d.header.Used.Bytes()
		for r, err := range d.records(format.HeaderSize, min(used, int64(len(memory)))) {
			if err != nil {
				return err
			}
			for off := range r.Locks {
				held = held || mem.At[format.LockCell](d.region, off).Word.Load()&format.OwnerMask == id
			}
			if r.Kind == format.KindGauge {
				high := mem.At[format.CellHeader](d.region, r.Data).High.Load()
				for off := range r.CellsInUse(high) {
					held = held || mem.At[format.Cell](d.region, off).Owner.Load() == uint64(id)
				}
			}
			if held {
				return nil
			}
		}
		return nil
	})
	return held
}
