package generate

import (
	"fmt"
	"go/format"
	"go/token"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"example.org/shm/cmd/shm/internal/form"
)

// goNumbers are the Go types of numbers.
var goNumbers = map[string]string{
	"b": "int8", "B": "uint8", "h": "int16", "H": "uint16", "i": "int32", "I": "uint32", "q": "int64", "Q": "uint64",
	"f": "float32", "d": "float64", "Zf": "complex64", "Zd": "complex128", "?": "bool", "c": "byte",
}

// goWriter writes the types that the values need.
type goWriter struct {
	types   strings.Builder
	names   *names
	written map[string]string // by format
}

// goSource returns a Go file with a struct for shm.Bind.
func goSource(segment string, values []named) (string, error) {
	w := &goWriter{names: newNames(camel), written: map[string]string{}}
	whole := w.names.name(path.Base(segment))
	fields := newNames(camel)
	duration := false
	var b strings.Builder
	for _, v := range values {
		if strings.Contains(v.Unit, ",") || !taggable(v.Name) {
			return "", fmt.Errorf("%w: a tag cannot hold a comma in a name or unit, nor the name -, as value %s has it", fs.ErrInvalid, form.Name(v.Name))
		}
		if err := fitsGo(v.t); err != nil {
			return "", fmt.Errorf("value %s: %w", form.Name(v.Name), err)
		}
		name := handle(v)
		t := "shm." + name
		switch {
		case name == "Mutex":
			t = "*shm.Mutex"
		case name == "CharArray", name == "String", name == "Histogram", v.t == nil:
		case v.t.code == "c" && len(v.t.dims) == 0:
			return "", fmt.Errorf("%w: value %s has single characters, which Go does not have", fs.ErrInvalid, form.Name(v.Name))
		default:
			t += "[" + w.typ(v.t, v.Name) + "]"
			if v.Hint == "duration" && strings.HasSuffix(t, "[int64]") {
				t, duration = strings.TrimSuffix(t, "[int64]")+"[time.Duration]", true
			}
		}
		fmt.Fprintf(&b, "\t%s %s %s\n", fields.name(v.Name), t, tag(v))
	}
	imports := ""
	if len(values) > 0 {
		imports = "import (\n\"example.org/shm\"\n)\n"
	}
	if duration {
		imports = "import (\n\"time\"\n\n\"example.org/shm\"\n)\n"
	}
	source := fmt.Sprintf(`// Package %[1]s declares the values of the segment %[2]s.
//
// Written by shm gen go. Edit it as you like.
package %[1]s

%[3]s
// %[4]s has the values. Give a pointer to it to shm.Bind.
type %[4]s struct {
%[5]s}
%[6]s`, goPackage(segment), comment(form.Name(segment)), imports, whole, b.String(), w.types.String())
	text, err := format.Source([]byte(source))
	if err != nil {
		return "", fmt.Errorf("formatting the source: %w", err)
	}
	return string(text), nil
}

// goPackage returns a name for the package.
func goPackage(segment string) string {
	name := strings.ReplaceAll(snake(path.Base(segment)), "_", "")
	if token.IsKeyword(name) || name == "main" || name == "init" {
		name += "values" // nobody could import a package of that name
	}
	return name
}

// taggable reports whether a tag can hold a name.
func taggable(name string) bool { return name != "-" && !strings.Contains(name, ",") }

// fitsGo returns why there is no Go type of a shape, or nil.
func fitsGo(t *shape) error {
	if t == nil {
		return nil
	}
	for _, f := range t.fields {
		switch {
		case !taggable(f.name):
			return fmt.Errorf("%w: a tag cannot hold a comma, nor the name -, as field %s has it", fs.ErrInvalid, form.Name(f.name))
		case f.t.code == "c" && len(f.t.dims) == 0:
			return fmt.Errorf("%w: field %s is a single character, which Go does not have", fs.ErrInvalid, form.Name(f.name))
		}
		if err := fitsGo(f.t); err != nil {
			return err
		}
	}
	return nil
}

// tag returns the tag of a field for Bind.
func tag(v named) string {
	s := v.Name
	if len(v.bounds) > 0 {
		s += ",bounds=" + strings.Join(numbers(v.bounds), ";")
	} else if v.Len > 0 {
		s += fmt.Sprintf(",len=%d", v.Len)
	}
	if v.Unit != "" {
		s += ",unit=" + v.Unit
	}
	if v.Hint != "" {
		s += ",hint=" + v.Hint
	}
	if v.Help != "" {
		s += ",help=" + v.Help
	}
	return literal("shm:" + strconv.Quote(s))
}

// literal returns a string literal of Go.
func literal(s string) string {
	if strconv.CanBackquote(s) {
		return "`" + s + "`"
	}
	return strconv.Quote(s)
}

// numbers returns the texts of numbers.
func numbers(all []float64) (texts []string) {
	for _, x := range all {
		texts = append(texts, strconv.FormatFloat(x, 'g', -1, 64))
	}
	return texts
}

// typ returns the Go type of a shape. It writes the types of structs.
func (w *goWriter) typ(t *shape, name string) string {
	dims := ""
	for _, n := range t.dims {
		dims += fmt.Sprintf("[%d]", n)
	}
	if t.code != "" {
		return dims + goNumbers[t.code]
	}
	known, ok := w.written[t.format]
	if ok {
		return dims + known
	}
	known = w.names.name(name + " record")
	w.written[t.format] = known
	fields := newNames(camel)
	var b strings.Builder
	for _, f := range t.fields {
		goName := fields.name(f.name)
		tag := ""
		switch char := f.t.code == "c"; {
		case char:
			tag = "shm:" + strconv.Quote(f.name+",char")
		case goName != f.name:
			tag = "shm:" + strconv.Quote(f.name)
		}
		if tag != "" {
			tag = " " + literal(tag)
		}
		fmt.Fprintf(&b, "\t%s %s%s\n", goName, w.typ(f.t, name+" "+f.name), tag)
	}
	fmt.Fprintf(&w.types, "\n// %[1]s has the layout %[2]s.\ntype %[1]s struct {\n%[3]s}\n", known, form.Text(t.format), b.String())
	return dims + known
}
