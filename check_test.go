//go:build linux

package shm_test

import (
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
)

// Whoever looks for a name by a damaged index does not find it. Check tells.
func TestSegmentCheckOfTheIndex(t *testing.T) {
	for what, spoil := range map[string]func(slot []byte){
		"a bit of a tag has changed": func(slot []byte) { binary.NativeEndian.PutUint64(slot, binary.NativeEndian.Uint64(slot)^1<<50) },
		"a slot is lost":             func(slot []byte) { clear(slot) },
	} {
		s := open(t, shmtest.Name(t), nil)
		shmtest.Must(shm.NewValue(s, "n", int32(1)))(t)
		shmtest.Must(shm.NewValue(s, "o", int32(1)))(t)
		e, _ := s.Lookup("n")
		b := shmtest.Must(os.ReadFile(shm.Path(s.Name())))(t)
		i := slotOfTag(t, b, format.Tag(e.Name))
		spoil(b[i : i+8])
		f := shmtest.Must(os.OpenFile(shm.Path(s.Name()), os.O_WRONLY, 0))(t)
		if _, err := f.WriteAt(b[i:i+8], int64(i)); err != nil {
			t.Fatal(err)
		}
		f.Close()
		ro := open(t, s.Name(), &shm.Options{ReadOnly: true}) // which does not know the value yet
		if _, found := ro.Lookup("n"); found {
			t.Errorf("%s: a lookup finds the value", what)
		}
		for _, damaged := range []*shm.Segment{s, ro} {
			if err := damaged.Check(); !errors.Is(err, shm.ErrFormat) || !strings.Contains(err.Error(), `"n"`) || !strings.Contains(err.Error(), shm.Path(s.Name())) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}

// slotOfTag returns where the slot of a tag is, in the bytes of a segment with one index.
func slotOfTag(t *testing.T, b []byte, tag uint64) int {
	t.Helper()
	const slots = format.HeaderSize + 128 // the record of the index has no texts
	for i := slots; i < slots+8*format.IndexSlots; i += 8 {
		if slot := format.Slot(binary.NativeEndian.Uint64(b[i:])); slot != 0 && slot.Tag() == tag {
			return i
		}
	}
	t.Fatalf("no slot has the tag %#x", tag)
	return 0
}
