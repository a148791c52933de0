package format_test

import (
	"testing"

	"example.org/shm/internal/format"
)

// Each change word has a byte of its own, and no two bytes touch.
func TestAskByte(t *testing.T) {
	taken := map[int64]bool{}
	for _, c := range [][2]int64{
		{0, 0},
		{format.HeaderSize, format.HeaderSize + 2*format.Line}, {format.HeaderSize, format.HeaderSize + 3*format.Line},
		{format.HeaderSize + format.Line, format.HeaderSize + 3*format.Line},
		{format.HeaderSize, format.HeaderSize + (1<<21-1)*format.Line},
		{format.MaxSegment - format.Line, format.MaxSegment + (1<<21-2)*format.Line},
	} {
		at, ok := format.AskByte(c[0], c[1])
		if !ok || at < format.AskBase || at >= format.AskBase+format.AskBytes || at <= format.LeaseBase+format.MaxID {
			t.Errorf("%d: byte %#x, %v", c, at, ok)
		}
		if taken[at] || taken[at-1] || taken[at+1] {
			t.Errorf("%d: byte %#x touches another one", c, at)
		}
		taken[at] = true
		if record, cell, ok := format.AskedCell(at); !ok || record != c[0] || cell != c[1] {
			t.Errorf("byte %#x is for %d and %d, %v; want %d", at, record, cell, ok, c)
		}
		if _, _, ok := format.AskedCell(at + 1); ok {
			t.Errorf("byte %#x is for something", at+1)
		}
	}
	for _, c := range [][2]int64{{format.HeaderSize, format.HeaderSize - format.Line}, {format.HeaderSize, format.HeaderSize + 1<<21*format.Line}} {
		if at, ok := format.AskByte(c[0], c[1]); ok {
			t.Errorf("%d: byte %#x", c, at)
		}
	}
	for _, at := range []int64{0, format.LeaseBase, format.AskBase - 2, format.AskBase + format.AskBytes} {
		if _, _, ok := format.AskedCell(at); ok {
			t.Errorf("byte %#x is for something", at)
		}
	}
}
