package shm

import (
	"fmt"
	"reflect"
	"strings"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/layout"
)

// Errors wrap one of these together with the path of the segment or the name of
// the value. Locks, and methods that cannot return an error, panic with it.
var (
	ErrFormat   = errs.Format   // the memory is not a segment, or is corrupt; or a layout's format is invalid
	ErrVersion  = errs.Version  // a segment, but of another format version or byte order
	ErrInsecure = errs.Insecure // the file's type, links, owner or mode lets others tamper with it
	ErrForeign  = errs.Foreign  // the operation needs named values and the memory is foreign, or the reverse
	ErrFull     = errs.Full     // no room is left below MaxSize, or no id for another lock owner
	ErrClosed   = errs.Closed   // the operation came after Close
	ErrReadOnly = errs.ReadOnly // the operation has to write, and the attachment is read-only
	ErrReplaced = errs.Replaced // the segment's name leads to another file by now; see Segment.Replaced
	ErrTooLong  = errs.TooLong  // a string does not fit; nothing was changed
)

// A LayoutError reports that a value of this name exists, but with another type,
// length or access than the caller wants. Nothing was changed. Have and Want
// describe one element.
type LayoutError struct {
	Segment                string // its path
	Name                   string
	Have, Want             Layout
	HaveLen, WantLen       int // elements of an array, bytes of a C string; 0 for a single value
	HaveAccess, WantAccess Access
	Pid                    int    // of the process that made the value; 0 if not known
	Program                string // name of that process's program
	Reason                 string // more about the difference; may be empty

	haveKind, wantKind format.Kind // 0: access, layout and length tell
	anyLen             bool        // WantLen is not known: the caller takes any length
}

// Error names the Go types that attach to what is there and to what was wanted,
// who made the value, and what to do. If both are structs, a line follows for each
// field that differs.
func (e *LayoutError) Error() string {
	have, want := e.Have.internal(), e.Want.internal()
	var b strings.Builder
	fmt.Fprintf(&b, "shm: value %q", e.Name)
	if e.Segment != "" {
		fmt.Fprintf(&b, " in %s", e.Segment)
	}
	fmt.Fprintf(&b, ": is %s%s", withArticle(handleType(e.haveKind, e.HaveAccess, have, e.HaveLen > 0)), lengthText(e.haveKind, e.HaveAccess, have, e.HaveLen, false))
	if e.Pid != 0 {
		// The program's name comes from memory that others write. Quoting keeps
		// terminal escapes out.
		fmt.Fprintf(&b, " made by %q (pid %d)", e.Program, e.Pid)
	}
	fmt.Fprintf(&b, "; wanted %s%s", withArticle(handleType(e.wantKind, e.WantAccess, want, e.WantLen > 0 || e.anyLen)), lengthText(e.wantKind, e.WantAccess, want, e.WantLen, e.anyLen))
	if e.Reason != "" {
		fmt.Fprintf(&b, " (%s)", e.Reason)
	}
	b.WriteString(": use another name, or remove the segment once its programs have ended")
	if d := layout.Diff(have, want); d != "" {
		b.WriteString("\n" + d)
	}
	return b.String()
}

// handleType names the type of the handles that attach to such a value, such as
// Array[int32]. long is whether the value has a length. A lock that guards no value of
// its own has no layout. The kind may be 0 if it is one that existed from the start.
func handleType(kind format.Kind, a Access, l layout.Layout, long bool) string {
	name := "Raw"
	switch {
	case l.Format == "" && long:
		return "Mutexes"
	case l.Format == "":
		return "Mutex"
	case kind == format.KindHistogram:
		return "Histogram"
	case kind == format.KindRing:
		name = "Ring"
	case kind == format.KindCounter:
		name = "Counter"
	case kind == format.KindGauge:
		name = "Gauge"
	case kind == format.KindArray && a == AccessPublished:
		name = "Table"
	case (kind == format.KindChars || kind == 0 && l.IsText() && long) && a == AccessRaw:
		return "CharArray"
	case (kind == format.KindChars || kind == 0 && l.IsText() && long) && a == AccessPublished:
		return "String"
	case a == AccessAtomic && long:
		name = "AtomicArray"
	case a == AccessAtomic:
		name = "Atomic"
	case a == AccessLocked && long:
		name = "Array"
	case a == AccessLocked:
		name = "Value"
	case a == AccessPublished:
		name = "Struct"
	case long:
		name = "RawArray"
	case l.Number() != nil && l.Number().Kind() != reflect.Bool:
		name = "RawValue"
	default:
		name = "RawStruct"
	}
	return name + "[" + l.String() + "]"
}

// lengthText says how long such a value is, such as " of 4 elements". If anyLen is true,
// it may have any length.
func lengthText(kind format.Kind, a Access, l layout.Layout, n int, anyLen bool) string {
	unit := "element"
	switch {
	case kind == format.KindArray && a == AccessPublished:
		unit = "row"
	case kind == format.KindHistogram:
		unit = "bound"
	case kind == format.KindRing:
		unit = "value"
	case l.Format == "":
		unit = "lock"
	case l.IsText() && kind != format.KindArray:
		unit = "byte"
	}
	switch {
	case anyLen && kind == format.KindHistogram:
		return " of any bounds"
	case anyLen:
		return " of any length"
	case n == 1:
		return " of 1 " + unit
	case n > 1:
		return fmt.Sprintf(" of %d %ss", n, unit)
	case l.Fields != nil:
		return fmt.Sprintf(" of %d bytes", l.Size)
	}
	return ""
}

// withArticle puts a or an before the name of a type.
func withArticle(name string) string {
	if name[0] == 'A' {
		return "an " + name
	}
	return "a " + name
}
