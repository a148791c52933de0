package generate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"example.org/shm/cmd/shm/internal/form"
)

// pythonNumbers are the types of ctypes.
var pythonNumbers = map[string]string{
	"b": "ctypes.c_int8", "B": "ctypes.c_uint8", "h": "ctypes.c_int16", "H": "ctypes.c_uint16", "i": "ctypes.c_int32", "I": "ctypes.c_uint32",
	"q": "ctypes.c_int64", "Q": "ctypes.c_uint64", "f": "ctypes.c_float", "d": "ctypes.c_double", "Zf": "shm.Complex64", "Zd": "shm.Complex128",
	"?": "ctypes.c_bool", "c": "ctypes.c_char",
}

// pythonMethods are the methods of a Python segment that attach to each type.
var pythonMethods = map[string]string{
	"RawValue": "raw_value", "RawStruct": "raw_value", "RawArray": "raw_array", "CharArray": "char_array", "Value": "value",
	"Array": "array", "Struct": "struct", "String": "string", "Atomic": "atomic", "AtomicArray": "atomic_array", "Mutex": "mutex",
	"Mutexes": "mutexes", "Table": "table", "Ring": "ring", "Counter": "counter", "Gauge": "gauge", "Histogram": "histogram",
}

// pythonWriter writes the classes that the values need.
type pythonWriter struct {
	types   strings.Builder
	names   *names
	written map[string]string // by format
}

// pythonSource returns a Python module with the classes, and a function that attaches.
func pythonSource(segment string, values []named) string {
	w := &pythonWriter{names: newNames(besides(pythonKeywords, camel)), written: map[string]string{}}
	whole := w.names.name("values")
	attributes := newNames(besides(pythonKeywords, snake))
	var b strings.Builder
	for _, v := range values {
		if text := about(v); text != "" {
			fmt.Fprintf(&b, "        # %s\n", text)
		}
		attribute, method := attributes.name(v.Name), pythonMethods[handle(v)]
		args := []string{pythonString(v.Name)}
		if method == "raw_array" && v.t.code == "c" && len(v.t.dims) == 0 {
			method = "" // raw_array makes a C string of characters
		}
		switch method {
		case "":
			fmt.Fprintf(&b, "        self.%s = seg[%s]  # %s\n", attribute, args[0], comment(v.Type()))
			continue
		case "mutex":
		case "histogram":
			args = append(args, "["+strings.Join(numbers(v.bounds), ", ")+"]")
		case "char_array", "string", "mutexes":
			args = append(args, strconv.Itoa(v.Len))
		default:
			if args = append(args, w.typ(v.t, v.Name)); v.Len > 0 {
				args = append(args, strconv.Itoa(v.Len))
			}
		}
		for _, d := range [][2]string{{"unit", v.Unit}, {"help", v.Help}, {"hint", v.Hint}} {
			if d[1] != "" {
				args = append(args, d[0]+"="+pythonString(d[1]))
			}
		}
		fmt.Fprintf(&b, "        self.%s = seg.%s(%s)\n", attribute, method, strings.Join(args, ", "))
	}
	if b.Len() == 0 {
		b.WriteString("        pass\n")
	}
	return fmt.Sprintf(`"""The values of the segment %s.

Written by shm gen python. Edit it as you like.
"""

import ctypes

import shm
%s

class %s:
    """Attaches to the values of a segment, or makes them."""

    def __init__(self, seg):
%s`, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(form.Name(segment)), w.types.String(), whole, b.String())
}

// pythonKeywords are those that a name of snake or camel can be.
var pythonKeywords = []string{
	"False", "None", "True",
	"and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif", "else", "except", "finally", "for", "from",
	"global", "if", "import", "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
}

// pythonString returns a string literal of Python.
func pythonString(s string) string { return strconv.QuoteToASCII(s) }

// typ returns the type of a shape. It writes the classes of structs.
func (w *pythonWriter) typ(t *shape, name string) string {
	base := pythonNumbers[t.code]
	if t.code == "" {
		base = w.class(t, name)
	}
	for _, n := range slices.Backward(t.dims) {
		base = fmt.Sprintf("%s * %d", base, n)
	}
	if len(t.dims) > 0 {
		return "(" + base + ")"
	}
	return base
}

func (w *pythonWriter) class(t *shape, name string) string {
	if known, ok := w.written[t.format]; ok {
		return known
	}
	known := w.names.name(name)
	w.written[t.format] = known
	var b strings.Builder
	for _, f := range t.fields {
		fmt.Fprintf(&b, "        (%s, %s),\n", pythonString(f.name), w.typ(f.t, name+" "+f.name))
	}
	fmt.Fprintf(&w.types, "\n\nclass %s(ctypes.Structure):\n    _fields_ = [\n%s    ]\n", known, b.String())
	return known
}
