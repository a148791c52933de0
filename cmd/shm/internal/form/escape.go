// Package form prints what a command has found, as a table for people, as JSON, as
// JSON lines or as bare text, and shows texts that others wrote without letting a
// terminal interpret them.
package form

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Name returns a name as it can be shown: itself if it is printable, else a string
// literal. Names, units, help texts and names of programs come from memory that others
// write, and a terminal would obey an escape sequence in them.
func Name(s string) string {
	if s != "" && !strings.HasPrefix(s, `"`) && printable(s) {
		return s
	}
	return strconv.Quote(s)
}

// Text returns a text as it can be shown, without quotes if it is printable or empty.
func Text(s string) string {
	if printable(s) {
		return s
	}
	return strconv.Quote(s)
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) })
}

// Line returns a text of several lines, such as an error's, in one line without what a
// terminal would obey.
func Line(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "; ")
	if printable(s) {
		return s
	}
	quoted := strconv.Quote(s)
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(quoted[1 : len(quoted)-1])
}

// Harmless writes the characters of JSON that are not printable as \u escapes, and bytes that
// are not UTF-8 as U+FFFD. Outside string literals JSON has none but line feeds.
func Harmless(json []byte) []byte {
	plain := !slices.ContainsFunc(json, func(c byte) bool { return c != '\n' && (c < ' ' || c > '~') })
	if plain || utf8.Valid(json) && !bytes.ContainsFunc(json, func(r rune) bool { return r != '\n' && !strconv.IsPrint(r) }) {
		return json
	}
	var b bytes.Buffer
	for _, r := range string(json) {
		switch {
		case r == '\n' || strconv.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.Bytes()
}
