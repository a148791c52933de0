package replica

import (
	"fmt"
	"strings"

	"example.org/shm"
	"example.org/shm/cmd/shm-mirror/internal/wire"
	"example.org/shm/internal/layout"
)

// fits returns why no owner's agent has sent such a message, or nil. It is asked before the
// value is made, so that a message which is refused leaves nothing in the replica. How many
// values a Ring has, and for how many bytes a Struct has room, the bytes do not tell.
func fits(d *shm.Description, v *wire.Value) error {
	name, _, _ := strings.Cut(d.Type, "[")
	parts, size, count := 1, 8, 1
	switch name {
	case "Counter", "Gauge":
	case "Histogram":
		count = 2*len(d.Bounds) + 2 // bounds, counts and the sum
	case "RawValue", "RawStruct", "RawArray", "CharArray", "Atomic", "AtomicArray", "Value", "Array", "Struct", "String", "Table", "Ring":
		l, err := layout.Parse(d.Layout)
		if err != nil {
			return fmt.Errorf("value %q: %w", d.Name, err)
		}
		size = l.Size
		switch name {
		case "Table":
			parts = max(d.Len, 1)
		case "Ring":
			count = len(v.Bytes) / max(size, 1)
		default:
			count = max(d.Len, 1)
		}
	default:
		return fmt.Errorf("value %q: a %.100q is not mirrored", d.Name, d.Type)
	}
	if d.Len < 0 || v.Parts != parts || size == 0 || len(v.Bytes)%size != 0 || len(v.Bytes)/size != count {
		return fmt.Errorf("value %q: %d bytes in a message, of %d parts, are no %s of length %d", d.Name, len(v.Bytes), v.Parts, d.Type, d.Len)
	}
	return nil
}
