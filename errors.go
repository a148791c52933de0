package shm

import (
	"fmt"
	"reflect"
	"strings"

	"example.org/shm/internal/errs"
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

	anyLen bool // WantLen is not known: the caller takes any length
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
	fmt.Fprintf(&b, ": is %s", handleType(e.HaveAccess, have, e.HaveLen, false))
	if e.Pid != 0 {
		// The program's name comes from memory that others write. Quoting keeps
		// terminal escapes out.
		fmt.Fprintf(&b, " made by %q (pid %d)", e.Program, e.Pid)
	}
	fmt.Fprintf(&b, "; wanted %s", handleType(e.WantAccess, want, e.WantLen, e.anyLen))
	if e.Reason != "" {
		fmt.Fprintf(&b, " (%s)", e.Reason)
	}
	b.WriteString(": use another name, or remove the segment once its programs have ended")
	if d := layout.Diff(have, want); d != "" {
		b.WriteString("\n" + d)
	}
	return b.String()
}

// handleType names the handle that attaches to such a value, with an article: an
// Array[int32] of 4 elements. If anyLen is true, it is one with a length, which n
// does not tell. A lock that guards no value of its own has no layout.
func handleType(a Access, l layout.Layout, n int, anyLen bool) string {
	long := n > 0 || anyLen
	count := func(unit string) string {
		switch {
		case anyLen:
			return " of any length"
		case n == 1:
			return " of 1 " + unit
		}
		return fmt.Sprintf(" of %d %ss", n, unit)
	}
	number := l.Number() != nil && l.Number().Kind() != reflect.Bool
	kind, of := "Raw", l.String()
	switch a {
	case AccessAtomic:
		kind = "Atomic"
	case AccessLocked:
		kind = "Value"
	case AccessPublished:
		kind = "Struct"
	}
	switch {
	case l.Format == "":
		return "a Mutex"
	case l.IsText() && long && a == AccessRaw:
		return "a CharArray" + count("byte")
	case l.IsText() && long && a == AccessPublished:
		return "a String" + count("byte")
	case a == AccessRaw && long:
		kind = "RawArray"
	case a == AccessRaw && number:
		kind = "RawValue"
	case a == AccessRaw:
		kind = "RawStruct"
	case a == AccessLocked && long:
		kind = "Array"
	}
	article := "a"
	if kind[0] == 'A' {
		article = "an"
	}
	text := fmt.Sprintf("%s %s[%s]", article, kind, of)
	switch {
	case long:
		text += count("element")
	case l.Fields != nil:
		text += fmt.Sprintf(" of %d bytes", l.Size)
	}
	return text
}
