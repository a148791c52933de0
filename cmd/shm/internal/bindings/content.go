package bindings

import (
	"encoding/binary"
	"reflect"

	"example.org/shm"
)

// content is the bytes of a value as Go reads it.
type content struct {
	bytes []byte // nil: there are none to compare
	data  []bool // which of them are neither padding nor behind the end of a text
}

// contentOf reads a value.
func contentOf(e shm.Entry) (c content) {
	v := e.Any()
	if _, failed := v.(error); failed || v == nil || e.Size > limit {
		return content{}
	}
	l := e.Layout
	switch kindOf(e) {
	case 7: // of a ring each reader may see other values
		return content{}
	case 10:
		m, ok := v.(map[string]any)
		if !ok {
			return content{}
		}
		for _, name := range []string{"bounds", "counts", "sum"} {
			x := m[name]
			part := content{make([]byte, binary.Size(x)), make([]bool, binary.Size(x))}
			part.encode(x, shm.Layout{})
			c.bytes, c.data = append(c.bytes, part.bytes...), append(c.data, part.data...)
		}
		return c
	case 8, 9:
		c = content{make([]byte, 8), make([]bool, 8)}
	default:
		c = content{make([]byte, e.Size), make([]bool, e.Size)}
	}
	c.encode(v, l)
	return c
}

// encode writes a value as it is in memory.
func (c content) encode(v any, l shm.Layout) {
	part := func(from, to int) content { return content{c.bytes[from:to], c.data[from:to]} }
	all := func() {
		for i := range c.data {
			c.data[i] = true
		}
	}
	switch x := v.(type) {
	case string:
		n := copy(c.bytes, x)
		for i := range min(n+1, len(c.data)) { // with the NUL that ends it
			c.data[i] = true
		}
		return
	case map[string]any:
		for _, f := range l.Fields {
			part(f.Offset, f.Offset+f.Layout.Size).encode(x[f.Name], f.Layout)
		}
		return
	case bool: // true is any byte but 0
		if !x {
			all()
		}
		return
	}
	if r := reflect.ValueOf(v); r.Kind() == reflect.Slice {
		if n := r.Len(); n > 0 {
			step := len(c.bytes) / n
			for i := range n {
				part(i*step, (i+1)*step).encode(r.Index(i).Interface(), l)
			}
		}
		return
	}
	if _, err := binary.Encode(c.bytes, binary.NativeEndian, v); err == nil {
		all()
	}
}

// is reports whether b is the same value.
func (c content) is(b []byte) bool {
	if len(b) != len(c.bytes) {
		return false
	}
	for i, data := range c.data {
		if data && b[i] != c.bytes[i] {
			return false
		}
	}
	return true
}
