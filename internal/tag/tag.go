// Package tag reads the tags of the fields that shm.Bind fills: the name of a value, and
// options.
//
// It may import format and errs.
package tag

import (
	"strconv"
	"strings"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
)

// Options is what a tag says of a value.
type Options struct {
	format.Label
	Len    int       // elements or bytes; 0: not given
	Bounds []float64 // of a Histogram; nil: not given
}

// Parse reads a tag such as "hits,len=4,help=text" of a field. Errors wrap fs.ErrInvalid.
func Parse(field, tag string) (o Options, err error) {
	name, options, more := strings.Cut(tag, ",")
	switch name {
	case "":
		o.Name = field
	case "-":
		return o, errs.Invalid("an exported field cannot be left out; unexport it")
	default:
		o.Name = name
	}
	seen := map[string]bool{}
	for more {
		if text, ok := strings.CutPrefix(options, "help="); ok {
			o.Help = text
			break
		}
		var option string
		option, options, more = strings.Cut(options, ",")
		key, value, _ := strings.Cut(option, "=")
		if seen[key] {
			return o, errs.Invalid("option %q is there twice", key)
		}
		seen[key] = true
		switch {
		case key == "len":
			if o.Len, err = strconv.Atoi(value); err != nil || o.Len <= 0 {
				return o, errs.Invalid("option %q needs a length above zero", option)
			}
		case key == "bounds":
			if o.Bounds, err = parseBounds(value); err != nil {
				return o, errs.Invalid("option %q: %v; it needs numbers with semicolons between them, such as 0.1;0.5;1", option, err)
			}
		case key == "room":
			if o.Reserve, err = strconv.ParseInt(value, 10, 64); err != nil || o.Reserve <= 0 {
				return o, errs.Invalid("option %q needs a number of bytes above zero", option)
			}
		case key == "unit" && value != "":
			o.Unit = value
		case key == "hint":
			var ok bool
			if o.Hint, ok = format.ParseHint(value); !ok {
				return o, errs.Invalid("option %q: the hints are duration, time, text, counter and gauge", option)
			}
		default:
			return o, errs.Invalid("option %q is unknown; the options are len, room, bounds, unit, hint and help", option)
		}
	}
	return o, nil
}

// parseBounds reads the bounds of a Histogram.
func parseBounds(text string) (bounds []float64, err error) {
	for word := range strings.SplitSeq(text, ";") {
		b, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return nil, err
		}
		bounds = append(bounds, b)
	}
	return bounds, nil
}
