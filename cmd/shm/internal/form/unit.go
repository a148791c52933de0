package form

import (
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// Bytes returns a number of bytes as people write it, such as 64 KiB.
func Bytes(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// Count returns a noun with a number before it, such as 1 value or 2 values. The plural
// is given if it does not end in s alone.
func Count(n int, noun string, plural ...string) string {
	if n != 1 {
		if noun += "s"; len(plural) > 0 {
			noun = plural[0]
		}
	}
	return strconv.Itoa(n) + " " + noun
}

// Number returns the text of a number as people read it: a duration or a time if the
// hint says so, bytes in KiB and so on, and else the text with its unit.
func Number(text, hint, unit string) string {
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err == nil && hint == "duration":
		return time.Duration(n).String()
	case err == nil && hint == "time":
		return time.Unix(0, n).UTC().Format(time.RFC3339Nano)
	case err == nil && n >= 1024 && IsBytes(unit):
		return Bytes(n)
	}
	return WithUnit(text, unit)
}

// IsBytes reports whether a unit is that of a number of bytes.
func IsBytes(unit string) bool { return unit == "bytes" || unit == "byte" || unit == "B" }

// WithUnit returns a text with the unit behind it, if there is one.
func WithUnit(text, unit string) string {
	if unit == "" {
		return text
	}
	return text + " " + strings.TrimSpace(Text(unit))
}
