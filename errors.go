package shm

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// What can be wrong with a segment, or with what is asked of it. Errors wrap one
// of these together with the path or the value's name; locks and verbs without
// an error panic with it.
var (
	ErrFormat   = errors.New("shm: no segment, or a damaged one")     // the memory, or a layout's format in it, is not what this package writes
	ErrVersion  = errors.New("shm: incompatible format version")      // a segment, but of another version or kind of machine
	ErrInsecure = errors.New("shm: not safe to attach")               // its owner, mode or file type lets others tamper with it
	ErrForeign  = errors.New("shm: laid out by another program")      // the operation needs a header, or the lack of one
	ErrFull     = errors.New("shm: segment is full")                  // no room left below MaxSize, or no lock owner's id
	ErrClosed   = errors.New("shm: segment is closed")                // the operation came after Close
	ErrReadOnly = errors.New("shm: segment is mapped for reading")    // the operation has to write
	ErrTooLong  = errors.New("shm: longer than the memory it is for") // a string or name does not fit; nothing was changed
)

// A TypeError reports a Go type whose values cannot live in shared memory.
type TypeError struct {
	Type   reflect.Type // the type that was asked for
	Field  string       // path of the part that is unfit, like "Inner[].Ptr"; empty if it is Type itself
	Reason string       // names the unfit part's own type
}

// Error joins the type, the path and the reason.
func (e *TypeError) Error() string {
	where := e.Field
	// A struct type without a name prints as its whole source text: the path
	// alone is easier to find.
	if e.Type != nil && (where == "" || e.Type.Name() != "" || e.Type.Kind() != reflect.Struct) {
		where = fieldPath(e.Type.String(), where)
	}
	return "shm: " + where + ": " + e.Reason
}

// fieldPath appends the path of a part to the path of what contains it.
func fieldPath(path, part string) string {
	if path == "" || part == "" || part[0] == '[' {
		return path + part
	}
	return path + "." + part
}

// A LayoutError reports that a value of this name exists, but as something else
// than what was asked for. Nothing was changed. Have and Want describe one
// element.
type LayoutError struct {
	Segment                string // its path
	Name                   string
	Have, Want             Layout
	HaveLen, WantLen       int // elements of an array, bytes of a C string; 0 for a single value
	HaveAccess, WantAccess Access
	Pid                    int    // of the process that made the value; 0 if not known
	Program                string // its name
	Reason                 string // what else there is to say; may be empty
}

// Error says in words what is there, who made it and what was wanted. If both
// are structs, a line for each field that differs follows.
func (e *LayoutError) Error() string {
	have := describeValue(e.HaveAccess, e.Have, e.HaveLen)
	want := describeValue(e.WantAccess, e.Want, e.WantLen)
	if have == want && e.Reason == "" {
		// An array of n elements and one value that is an array read alike.
		have += describeCount(e.HaveLen)
		want += describeCount(e.WantLen)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "shm: value %q", e.Name)
	if e.Segment != "" {
		fmt.Fprintf(&b, " in %s", e.Segment)
	}
	fmt.Fprintf(&b, ": is %s", have)
	if e.Pid != 0 {
		// Name and program come from memory that others write: quoting keeps
		// terminal escapes out.
		fmt.Fprintf(&b, ", made by %q (pid %d)", e.Program, e.Pid)
	}
	fmt.Fprintf(&b, "; wanted %s", want)
	if e.Reason != "" {
		fmt.Fprintf(&b, " (%s)", e.Reason)
	}
	if d := diff(e.Have, e.Want); d != "" {
		b.WriteString("\n" + d)
	}
	return b.String()
}

// describeValue words one side of a LayoutError. A lock that guards no value of
// its own has no layout.
func describeValue(a Access, l Layout, n int) string {
	if l.Format == "" {
		return "mutex"
	}
	if n > 0 {
		l = arrayOf(l, n)
	}
	s := a.String() + " " + l.text()
	if l.Fields != nil {
		s += fmt.Sprintf(" of %d bytes", l.Size)
	}
	return s
}

func describeCount(n int) string {
	if n == 0 {
		return " as one value"
	}
	return fmt.Sprintf(" as %d elements", n)
}
