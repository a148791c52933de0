package shmprom

import (
	"fmt"
	"strings"
	"unicode"
)

// scale is a unit, as names end in it, and what a number is multiplied with and divided by
// to be in that unit.
type scale struct {
	unit     string
	mul, div float64
}

// scales has the units that are shown in a base unit.
var scales = map[string]scale{
	"ns": {"seconds", 1, 1e9}, "nanoseconds": {"seconds", 1, 1e9},
	"us": {"seconds", 1, 1e6}, "µs": {"seconds", 1, 1e6}, "μs": {"seconds", 1, 1e6}, "microseconds": {"seconds", 1, 1e6},
	"ms": {"seconds", 1, 1e3}, "milliseconds": {"seconds", 1, 1e3},
	"s": {"seconds", 1, 1}, "sec": {"seconds", 1, 1}, "second": {"seconds", 1, 1},
	"min": {"seconds", 60, 1}, "minutes": {"seconds", 60, 1},
	"h": {"seconds", 3600, 1}, "hours": {"seconds", 3600, 1}, "days": {"seconds", 86400, 1},
	"B": {"bytes", 1, 1}, "byte": {"bytes", 1, 1},
	"kB": {"bytes", 1e3, 1}, "MB": {"bytes", 1e6, 1}, "GB": {"bytes", 1e9, 1}, "TB": {"bytes", 1e12, 1},
	"KiB": {"bytes", 1 << 10, 1}, "MiB": {"bytes", 1 << 20, 1}, "GiB": {"bytes", 1 << 30, 1}, "TiB": {"bytes", 1 << 40, 1},
	"%": {"ratio", 1, 100}, "percent": {"ratio", 1, 100},
	"°C": {"celsius", 1, 1}, "C": {"celsius", 1, 1}, "V": {"volts", 1, 1}, "A": {"amperes", 1, 1}, "J": {"joules", 1, 1},
	"W": {"watts", 1, 1}, "m": {"meters", 1, 1}, "g": {"grams", 1, 1}, "kg": {"grams", 1e3, 1}, "Hz": {"hertz", 1, 1},
}

// scaleOf returns how a number of that hint and unit is shown.
func scaleOf(hint, unit string) scale {
	switch hint {
	case "duration":
		return scales["ns"]
	case "time":
		return scale{"timestamp_seconds", 1, 1e9}
	}
	if s, known := scales[unit]; known {
		return s
	}
	return scale{snake(unit), 1, 1}
}

func (s scale) of(x float64) float64 { return x * s.mul / s.div }

// snake returns a text as a part of a name: HTTPCode.x-1 is http_code_x_1. It may be "".
func snake(text string) string {
	var b strings.Builder
	runes := []rune(text)
	for i, r := range runes {
		if r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			r = '_'
		}
		// A word begins at a capital after a small letter or digit, and at the last of
		// several capitals, if a small letter follows.
		if unicode.IsUpper(r) && i > 0 {
			before := runes[i-1]
			small := i+1 < len(runes) && unicode.IsLower(runes[i+1])
			if unicode.IsLower(before) || unicode.IsDigit(before) || unicode.IsUpper(before) && small {
				b.WriteByte('_')
			}
		}
		b.WriteRune(unicode.ToLower(r))
	}
	words := strings.FieldsFunc(b.String(), func(r rune) bool { return r == '_' })
	return strings.Join(words, "_")
}

// total is how the name of a counter ends.
const total = "_total"

// familyName returns the name of a metric: namespace, name and unit, and _total for a
// counter.
func familyName(namespace, name, unit string, counter bool) string {
	name = strings.TrimSuffix(snake(name), total)
	if name == "" {
		name = "value"
	}
	if namespace != "" {
		name = namespace + "_" + name
	}
	if name[0] >= '0' && name[0] <= '9' {
		name = "_" + name
	}
	return end(name, unit, counter)
}

// end adds the unit to a name if it does not end in it, and _total for a counter.
func end(name, unit string, counter bool) string {
	if unit != "" && name != unit && !strings.HasSuffix(name, "_"+unit) {
		name += "_" + unit
	}
	if counter {
		name += total
	}
	return name
}

// labelName returns a name as that of a label, and another one if there is nothing left.
func labelName(name, other string) string {
	if name = snake(name); name == "" {
		return other
	}
	if name[0] >= '0' && name[0] <= '9' {
		return "_" + name
	}
	return name
}

// valid returns a text as the value of a label or a help text, which have to be UTF-8. People
// look at metrics on a terminal, so characters that it would obey are written as \u001b is.
func valid(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if !strings.ContainsFunc(text, obeyed) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if obeyed(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// obeyed reports whether a terminal does something else with a character than to show it. The
// text formats have an escape for the line feed.
func obeyed(r rune) bool {
	return r != '\n' && r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
}
