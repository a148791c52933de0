package format

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"example.org/shm/internal/layout"
)

// Access says how the memory of a value is synchronised.
type Access uint8

const (
	Raw       Access = 1 // plain memory, unsynchronised
	Atomic    Access = 2 // lock-free: every access is one atomic operation
	Locked    Access = 3 // a lock, and a value that its holder changes in place
	Published Access = 4 // a lock, and two slots of which the holder publishes one
)

// Kind is what a name stands for.
type Kind uint8

const (
	KindSingle    Kind = iota + 1 // one number or struct
	KindArray                     // Count elements
	KindChars                     // Count bytes of a C string
	KindMutex                     // a lock and nothing else
	KindGrowth                    // a longer layout for the struct that has the name already
	KindIndex                     // the index of the directory, with Count slots and without a name
	KindRing                      // the last Count values of a stream
	KindCounter                   // a number with a cell for each process, which stays when the process dies
	KindGauge                     // a number with a cell for each process, which vanishes when the process dies
	KindHistogram                 // Count bounds, and for each process a cell with the buckets between them
)

// Where things are in the data of a locked or published value, in bytes from its
// start.
const (
	NumberOffset = 48   // a locked number, in the line of its lock
	LockedOffset = Line // the elements of a locked array, or the first slot
)

// Limits of the texts of a record, in bytes.
const (
	MaxName = 255      // of a name, and of a unit
	MaxHelp = 4 << 10  // of a help text
	MaxText = 32 << 10 // of a format
)

// MaxExtent is the largest type, in bytes, of a struct that changes as a whole, or of a
// row of a table: what the extent in its lock cell can count.
const MaxExtent = 1<<32 - 1

// maxValue is the most bytes that all elements of a value have in this process.
const maxValue = min(MaxSegment, math.MaxInt/4)

// Label is the name of a value, and the texts about it for people.
type Label struct {
	Name string
	Unit string // of the number, such as bytes
	Help string // what the value means
	Hint Hint

	Reserve int64 // bytes of a slot of a new value that grows; 0: as Room chooses. No record has it.
}

// Hint says what a value means to people. It changes how a value is shown, and
// nothing else. A number that no constant has means nothing.
type Hint uint8

const (
	HintNone     Hint = 0
	HintDuration Hint = 1 // a number of nanoseconds
	HintTime     Hint = 2 // nanoseconds since 1970-01-01 UTC
	HintText     Hint = 3 // the bytes are UTF-8
	HintCounter  Hint = 4 // a number that only grows
	HintGauge    Hint = 5 // a number that goes up and down
)

// hints has the name of each Hint.
var hints = [...]string{"", "duration", "time", "text", "counter", "gauge"}

// String returns the name of the hint, "" for one that means nothing.
func (h Hint) String() string {
	if int(h) < len(hints) {
		return hints[h]
	}
	return ""
}

// ParseHint returns the hint of that name.
func ParseHint(name string) (h Hint, ok bool) {
	i := slices.Index(hints[:], name)
	return Hint(max(i, 0)), i > 0
}

// kinds has the kinds of value that each access has.
var kinds = map[Access][]Kind{
	Raw:       {KindSingle, KindArray, KindChars, KindIndex},
	Atomic:    {KindSingle, KindArray, KindCounter, KindGauge, KindHistogram},
	Locked:    {KindSingle, KindArray, KindMutex},
	Published: {KindSingle, KindArray, KindChars, KindGrowth, KindRing},
}

// Shape is what a constructor asks for and what a record says.
type Shape struct {
	Layout *layout.Layout // of one element; nil for a mutex
	Count  int64          // elements of an array, bytes of a C string, values of a ring, bounds of a histogram; 0: a single value
	Access Access
	Kind   Kind
	Label
}

// CheckName returns an error that says why no value can have a name, or nil.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > MaxName:
		return fmt.Errorf("the name has %d bytes, at most %d are allowed", len(name), MaxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New("the name is not printable UTF-8")
	}
	return nil
}

// Check returns an error that says why a shape cannot be made, or nil.
func (s *Shape) Check() error {
	switch {
	case !slices.Contains(kinds[s.Access], s.Kind):
		return fmt.Errorf("kind %d with access %d", s.Kind, s.Access)
	case s.Kind == KindIndex:
		if s.Label != (Label{}) || s.Count < IndexSlots || s.Count > MaxIndexSlots || s.Count&(s.Count-1) != 0 {
			return fmt.Errorf("an index of %d slots with the name %q", s.Count, s.Name)
		}
		return nil
	case CheckName(s.Name) != nil:
		return CheckName(s.Name)
	case len(s.Unit) > MaxName:
		return fmt.Errorf("the unit has %d bytes, at most %d are allowed", len(s.Unit), MaxName)
	case len(s.Help) > MaxHelp:
		return fmt.Errorf("the help text has %d bytes, at most %d are allowed", len(s.Help), MaxHelp)
	case s.Layout != nil && len(s.Layout.Format) > MaxText:
		return fmt.Errorf("the format of the type has %d bytes, at most %d are allowed", len(s.Layout.Format), MaxText)
	case s.Count < 0:
		return fmt.Errorf("negative length %d", s.Count)
	case (s.Count > 0) != s.long() && s.Kind != KindMutex:
		return fmt.Errorf("kind %d with %d elements", s.Kind, s.Count)
	case s.Kind == KindHistogram && s.Count > MaxBounds:
		return fmt.Errorf("a histogram with %d bounds, at most %d are allowed", s.Count, MaxBounds)
	case s.Kind == KindChars && s.Layout.Format != layout.Chars.Format:
		return fmt.Errorf("characters with the format %q", s.Layout.Format)
	case !s.fits():
		return fmt.Errorf("kind %d with access %d and the format %q", s.Kind, s.Access, s.Layout.Format)
	case s.Kind == KindGrowth && (s.Unit != "" || s.Help != "" || s.Hint != HintNone):
		return errors.New("a growth record with texts")
	}
	n, ok := s.SlotSize()
	switch {
	case !ok:
		return fmt.Errorf("%d elements%s are more than a value can have: it has at most %d bytes in this process, with what each element needs beside it", s.Count, s.each(), int64(maxValue))
	case (s.Grows() || s.Kind == KindGrowth) && int64(s.Layout.Size) > MaxExtent:
		return fmt.Errorf("a struct of %d bytes: one that changes as a whole, or a row of a table, has at most %d", s.Layout.Size, int64(MaxExtent))
	case s.Reserve != 0 && (!s.Grows() || s.Reserve < n || s.Reserve > MaxSegment/2):
		return fmt.Errorf("room for %d bytes in a value of %d bytes", s.Reserve, n)
	}
	return nil
}

// each says how many bytes an element has, if it has some.
func (s *Shape) each() string {
	if s.Layout == nil {
		return ""
	}
	return fmt.Sprintf(" of %d bytes", s.Layout.Size)
}

// long reports whether values of this kind have a length.
func (s *Shape) long() bool {
	switch s.Kind {
	case KindArray, KindChars, KindRing, KindHistogram:
		return true
	}
	return false
}

// fits reports whether values of this access and kind can have the format: arrays of
// numbers are of numbers, and an atomic or locked number is written by one store.
func (s *Shape) fits() bool {
	if s.Layout == nil {
		return true
	}
	code := strings.TrimPrefix(s.Layout.Format, layout.ByteOrder)
	scalar := len(code) <= 2 // neither a struct nor an array
	switch {
	case s.Kind == KindCounter, s.Kind == KindGauge:
		return len(code) == 1 && strings.Contains("qQd", code)
	case s.Kind == KindHistogram:
		return code == "d"
	case s.Access == Atomic:
		return len(code) == 1 && strings.Contains("iIqQ", code)
	case s.Access == Locked:
		return scalar && code != "?" && code != "c" && code != "Zd"
	case s.Access == Raw && s.Kind == KindArray:
		return scalar
	}
	return true
}

// SlotSize returns the bytes that a slot of the value needs: those of all elements, or
// of one row of a table. The kinds that have cells need one besides the shared one. ok is
// false if they are too many.
func (s *Shape) SlotSize() (n int64, ok bool) {
	if s.Layout == nil {
		if s.Kind == KindIndex {
			return slotSize * s.Count, true
		}
		return 0, s.Count <= MaxSegment/Line // locks
	}
	elem, count := int64(s.Layout.Size), max(s.Count, 1)
	switch {
	case s.Count < 0, s.Count > MaxSegment:
		return 0, false
	case s.HasCells():
		return 2 * s.Stride(), true
	case s.Kind == KindRing:
		elem, count = s.Stride(), count+1
	case s.IsTable():
		if count > MaxSegment/(2*elem) {
			return 0, false
		}
		count = 1
	}
	if count > MaxSegment/elem {
		return 0, false
	}
	n = count * elem
	return n, n <= maxValue
}

// Room returns the capacity of a new record, the bytes that one of its slots
// gets. Structs that change as a whole get more than they need, for the fields
// that later programs append.
func (s *Shape) Room() int64 {
	n, _ := s.SlotSize()
	switch {
	case s.HasCells():
		return s.Stride() * (Cells + 1)
	case s.Grows() && s.Reserve != 0:
		return RoundUp(s.Reserve)
	case s.Grows():
		return RoundUp(n + n/2)
	}
	return n
}

// fills reports whether a record of this shape may have the capacity.
func (s *Shape) fills(capacity int64) bool {
	need, _ := s.SlotSize()
	switch {
	case s.HasCells():
		return capacity >= need && capacity%s.Stride() == 0 && capacity/s.Stride() <= MaxCells+1
	case s.Kind == KindRing:
		return capacity == need
	}
	return capacity >= need && capacity <= MaxSegment
}

// Stride returns the distance between two locks, values of a ring, or cells, in bytes. It
// is 0 for a table, whose rows depend on their capacity, and for other values.
func (s *Shape) Stride() int64 {
	switch s.Kind {
	case KindMutex:
		return Line
	case KindRing:
		return (int64(s.Layout.Size) + 7) / 8 * 8
	case KindCounter, KindGauge:
		return CellLine
	case KindHistogram:
		return roundToCell(BucketOffset + 8*(s.Count+1))
	}
	return 0
}

// cellsOffset returns where the cells begin, in bytes from the start of the data.
func (s *Shape) cellsOffset() int64 { return CellLine + roundToCell(8*s.Count) }

// RowSize returns the bytes of a row of a table: a lock, and two slots of that capacity.
func RowSize(capacity int64) int64 { return LockedOffset + 2*RoundUp(capacity) }

// DataSize returns the bytes of a record's data: the slots of that capacity and
// the lock. It returns more than MaxSegment if they are too many.
func (s *Shape) DataSize(capacity int64) int64 {
	switch {
	case s.Kind == KindGrowth:
		return 0
	case s.IsTable(), s.Kind == KindMutex:
		parts, stride := max(s.Count, 1), s.Stride()
		if s.IsTable() {
			stride = RowSize(capacity)
		}
		if parts > MaxSegment/stride {
			return 2 * MaxSegment
		}
		return parts * stride
	case s.HasCells():
		return s.cellsOffset() + capacity
	case s.Kind == KindRing:
		return LockedOffset + RoundUp(capacity)
	case s.Access == Published:
		return LockedOffset + 2*RoundUp(capacity)
	case s.Access == Locked && s.Kind == KindSingle:
		return Line
	case s.Access == Locked:
		return LockedOffset + RoundUp(capacity)
	}
	return RoundUp(capacity)
}

// HasLock reports whether a LockCell starts the data.
func (s *Shape) HasLock() bool { return s.Access == Locked || s.Access == Published }

// HasCells reports whether each process has a cell in the data.
func (s *Shape) HasCells() bool {
	return s.Kind == KindCounter || s.Kind == KindGauge || s.Kind == KindHistogram
}

// IsTable reports whether the value is an array of structs that change as a whole.
func (s *Shape) IsTable() bool { return s.Access == Published && s.Kind == KindArray }

// Grows reports whether types of different length may share the value.
func (s *Shape) Grows() bool { return s.Access == Published && s.Kind == KindSingle || s.IsTable() }

// Whole returns the layout of all elements together.
//
// Preconditions: the shape is not that of a mutex.
func (s *Shape) Whole() layout.Layout {
	if s.Count == 0 {
		return *s.Layout
	}
	return layout.Array(*s.Layout, int(s.Count))
}
