package text

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"example.org/shm/internal/errs"
)

// appendNumber appends a number or a bool.
func appendNumber(dst []byte, kind reflect.Kind, b []byte) []byte {
	switch kind {
	case reflect.Bool:
		return strconv.AppendBool(dst, b[0] != 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		unused := 64 - 8*len(b)
		return strconv.AppendInt(dst, int64(getBits(b)<<unused)>>unused, 10)
	case reflect.Float32, reflect.Float64:
		return appendFloat(dst, getBits(b), len(b))
	case reflect.Complex64, reflect.Complex128:
		half := len(b) / 2
		re := string(appendFloat(nil, getBits(b[:half]), half))
		im := string(appendFloat(nil, getBits(b[half:]), half))
		if strings.Contains(re+im, "(") {
			return fmt.Appendf(dst, "complex(%s, %s)", re, im)
		}
		if im[0] != '-' && im[0] != '+' {
			im = "+" + im
		}
		return fmt.Appendf(dst, "(%s%si)", re, im)
	}
	return strconv.AppendUint(dst, getBits(b), 10)
}

// appendFloat appends the shortest text that parses as the same number. It has an
// exponent only where encoding/json writes one.
func appendFloat(dst []byte, bits uint64, size int) []byte {
	f, usual := math.Float64frombits(bits), math.Float64bits(math.NaN())
	if size == 4 {
		f, usual = float64(math.Float32frombits(uint32(bits))), uint64(math.Float32bits(float32(math.NaN())))
	}
	if math.IsNaN(f) && bits != usual {
		return fmt.Appendf(dst, "NaN(%#x)", bits)
	}
	form := byte('f')
	if size := math.Abs(f); size != 0 && (size < 1e-6 || size >= 1e21) {
		form = 'e'
	}
	return strconv.AppendFloat(dst, f, form, -1, 8*size)
}

// parseNumber reads what appendNumber writes.
func parseNumber(t reflect.Type, word string) (b []byte, err error) {
	size := int(t.Size())
	var bits uint64
	switch t.Kind() {
	case reflect.Bool:
		var yes bool
		if yes, err = strconv.ParseBool(word); yes {
			bits = 1
		}
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		var n int64
		n, err = strconv.ParseInt(word, base(word), 8*size)
		bits = uint64(n)
	case reflect.Float32, reflect.Float64:
		bits, err = parseFloat(word, size)
	case reflect.Complex64, reflect.Complex128:
		return parseComplex(t, word)
	default:
		bits, err = strconv.ParseUint(word, base(word), 8*size)
	}
	if err != nil {
		return nil, numberError(t, word, err)
	}
	return appendBits(nil, bits, size), nil
}

func numberError(t reflect.Type, word string, err error) error {
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("%w: %s does not fit in %v", strconv.ErrRange, word, t)
	}
	return errs.Invalid("cannot read %q as %v", word, t)
}

// base returns the base for strconv: 10, so that leading zeros mean nothing, or 0
// for a word whose prefix says the base.
func base(word string) int {
	if digits := strings.TrimLeft(word, "+-"); len(digits) > 2 && digits[0] == '0' && strings.ContainsRune("xXbBoO", rune(digits[1])) {
		return 0
	}
	return 10
}

func parseFloat(word string, size int) (bits uint64, err error) {
	if hex, ok := strings.CutPrefix(word, "NaN("); ok {
		bits, err = strconv.ParseUint(strings.TrimSuffix(hex, ")"), 0, 8*size)
		if err == nil && string(appendFloat(nil, bits, size)) != word {
			err = strconv.ErrSyntax
		}
		return bits, err
	}
	if strings.Contains(word, "_") { // which strconv takes, and Python and C do not
		return 0, strconv.ErrSyntax
	}
	if strings.EqualFold(word, "-nan") || strings.EqualFold(word, "+nan") {
		word = "NaN" // C prints a sign, and Python and C take it
	}
	f, err := strconv.ParseFloat(word, 8*size)
	if size == 4 {
		return uint64(math.Float32bits(float32(f))), err
	}
	return math.Float64bits(f), err
}

func parseComplex(t reflect.Type, word string) ([]byte, error) {
	half := int(t.Size()) / 2
	var re, im uint64
	if inner, ok := strings.CutPrefix(word, "complex("); ok {
		first, second, _ := strings.Cut(strings.TrimSuffix(inner, ")"), ",")
		var err1, err2 error
		re, err1 = parseFloat(strings.TrimSpace(first), half)
		im, err2 = parseFloat(strings.TrimSpace(second), half)
		if err := errors.Join(err1, err2); err != nil {
			return nil, numberError(t, word, err)
		}
	} else {
		c, err := strconv.ParseComplex(word, 16*half)
		if strings.Contains(word, "_") {
			err = strconv.ErrSyntax
		}
		if err != nil {
			return nil, numberError(t, word, err)
		}
		re, im = math.Float64bits(real(c)), math.Float64bits(imag(c))
		if half == 4 {
			re, im = uint64(math.Float32bits(float32(real(c)))), uint64(math.Float32bits(float32(imag(c))))
		}
	}
	return appendBits(appendBits(nil, re, half), im, half), nil
}

// appendBits writes an unsigned number of size bytes.
func appendBits(dst []byte, bits uint64, size int) []byte {
	ne := binary.NativeEndian
	switch size {
	case 8:
		return ne.AppendUint64(dst, bits)
	case 4:
		return ne.AppendUint32(dst, uint32(bits))
	case 2:
		return ne.AppendUint16(dst, uint16(bits))
	}
	return append(dst, byte(bits))
}

// getBits reads an unsigned number of len(b) bytes.
func getBits(b []byte) uint64 {
	ne := binary.NativeEndian
	switch len(b) {
	case 8:
		return ne.Uint64(b)
	case 4:
		return uint64(ne.Uint32(b))
	case 2:
		return uint64(ne.Uint16(b))
	}
	return uint64(b[0])
}
