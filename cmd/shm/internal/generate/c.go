package generate

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"example.org/shm/cmd/shm/internal/form"
)

// cNumbers are the C types of numbers.
var cNumbers = map[string]string{
	"b": "int8_t", "B": "uint8_t", "h": "int16_t", "H": "uint16_t", "i": "int32_t", "I": "uint32_t", "q": "int64_t", "Q": "uint64_t",
	"f": "float", "d": "double", "Zf": "float", "Zd": "double", "?": "bool", "c": "char",
}

// cWords are the names that a field cannot have in C or C++, or that headers may define.
var cWords = strings.Fields(`alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t char32_t char8_t class
	co_await co_return co_yield compl concept const const_cast consteval constexpr constinit continue decltype default delete do
	double dynamic_cast else enum explicit export extern false float for friend goto if inline int long mutable namespace new
	noexcept not not_eq nullptr operator or or_eq private protected public register reinterpret_cast requires restrict return
	short signed sizeof static static_assert static_cast struct switch template this thread_local throw true try typedef typeid
	typename typeof typeof_unqual union unsigned using virtual void volatile wchar_t while xor xor_eq
	_Alignas _Alignof _Atomic _Bool _Complex _Generic _Imaginary _Noreturn _Static_assert _Thread_local
	int8_t uint8_t int16_t uint16_t int32_t uint32_t int64_t uint64_t
	assert complex errno EOF I linux NULL offsetof stderr stdin stdout unix`)

// cWriter writes the structs that the values need.
type cWriter struct {
	types   strings.Builder
	names   *names
	prefix  string
	written map[string]string // by format
}

// cSource returns a C header with the structs, their formats, and the names.
func cSource(segment string, values []named) string {
	prefix := snake(path.Base(segment))
	if prefix == "shm" || strings.HasPrefix(prefix, "shm_") { // these names are those of shm.h
		prefix = "seg_" + prefix
	}
	w := &cWriter{names: newNames(snake), prefix: prefix, written: map[string]string{}}
	guard := strings.ToUpper(w.prefix) + "_H"
	macros := newNames(func(s string) string { return strings.ToUpper(snake(s)) }, guard)
	var b strings.Builder
	for _, v := range values {
		macro := macros.name(w.prefix+" "+v.Name, "_FORMAT", "_LEN")
		fmt.Fprintf(&b, "\n/* %s: %s", comment(v.Name), comment(v.Type()))
		if v.Len > 0 {
			fmt.Fprintf(&b, " of length %d", v.Len)
		}
		if text := about(v); text != "" {
			b.WriteString("; " + text)
		}
		fmt.Fprintf(&b, " */\n#define %s %s\n", macro, cString(v.Name))
		if v.t == nil {
			continue
		}
		if v.t.code == "" {
			w.structure(v.t, v.Name)
		}
		fmt.Fprintf(&b, "#define %s_FORMAT %s\n", macro, cString(v.Layout.Format))
		if v.Len > 0 {
			fmt.Fprintf(&b, "#define %s_LEN %d\n", macro, v.Len)
		}
	}
	return fmt.Sprintf(`/* The values of the segment %[1]s, for shm.h.
   Written by shm gen c. Edit it as you like. */
#ifndef %[2]s
#define %[2]s

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
%[3]s%[4]s
#endif
`, comment(form.Name(segment)), guard, w.types.String(), b.String())
}

// cString returns a string literal of C. It has an octal escape for what is not ASCII.
func cString(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			b.WriteString(`\` + string(rune(c)))
		case c == '?': // two of them would begin a trigraph
			b.WriteString(`\?`)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	return `"` + b.String() + `"`
}

// structure writes a struct and returns its name.
func (w *cWriter) structure(t *shape, name string) string {
	if known, ok := w.written[t.format]; ok {
		return known
	}
	known := "struct " + w.names.name(w.prefix+" "+name)
	w.written[t.format] = known
	fields := newNames(besides(cWords, asIs))
	var body, checks strings.Builder
	for _, f := range t.fields {
		typ := cNumbers[f.t.code]
		if f.t.code == "" {
			typ = w.structure(f.t, name+" "+f.name)
		}
		dims := ""
		for _, n := range f.t.dims {
			dims += "[" + strconv.Itoa(n) + "]"
		}
		if f.t.code == "Zf" || f.t.code == "Zd" {
			dims += "[2]" // the real and the imaginary part
		}
		cName := fields.name(f.name)
		fmt.Fprintf(&body, "\t%s %s%s;\n", typ, cName, dims)
		fmt.Fprintf(&checks, "SHM_GEN_ASSERT(offsetof(%s, %s) == %d);\n", known, cName, f.offset)
	}
	if w.types.Len() == 0 {
		w.types.WriteString("\n#ifdef __cplusplus\n#define SHM_GEN_ASSERT(is) static_assert(is, #is)\n#else\n#define SHM_GEN_ASSERT(is) _Static_assert(is, #is)\n#endif\n")
	}
	fmt.Fprintf(&w.types, "\n%[1]s {\n%[2]s};\nSHM_GEN_ASSERT(sizeof(%[1]s) == %[3]d);\n%[4]s", known, body.String(), t.size, checks.String())
	return known
}
