package main

import (
	"cmp"
	"fmt"
	"math"
	"reflect"

	"github.com/expr-lang/expr"
)

// large is a number above math.MaxInt64 in an expression. The language calculates with int
// alone, which such a number does not fit, so it is another type: comparisons know it, and
// the other operators refuse it.
type large uint64

func (n large) String() string { return fmt.Sprint(uint64(n)) }

// comparable64 returns a value, in which each uint64 that an int cannot hold is a large.
func comparable64(v any) any {
	switch v := v.(type) {
	case uint64:
		if v > math.MaxInt64 {
			return large(v)
		}
	case map[string]any:
		fields := make(map[string]any, len(v))
		for name, x := range v {
			fields[name] = comparable64(x)
		}
		return fields
	case []uint64:
		if !hasLarge(v) {
			return v
		}
		return elements(reflect.ValueOf(v))
	default:
		if r := reflect.ValueOf(v); r.Kind() == reflect.Slice {
			switch r.Type().Elem().Kind() {
			case reflect.Slice, reflect.Map:
				return elements(r)
			}
		}
	}
	return v
}

func hasLarge(all []uint64) bool {
	for _, n := range all {
		if n > math.MaxInt64 {
			return true
		}
	}
	return false
}

func elements(r reflect.Value) []any {
	all := make([]any, r.Len())
	for i := range all {
		all[i] = comparable64(r.Index(i).Interface())
	}
	return all
}

// comparisons returns the operators that compare a uint64 with another number as numbers.
func comparisons() (options []expr.Option) {
	for operator, holds := range map[string]func(order int) bool{
		"<": func(o int) bool { return o < 0 }, "<=": func(o int) bool { return o <= 0 },
		">": func(o int) bool { return o > 0 }, ">=": func(o int) bool { return o >= 0 },
		"==": func(o int) bool { return o == 0 }, "!=": func(o int) bool { return o != 0 },
	} {
		name := "compare " + operator // no name that an expression can have
		options = append(options, expr.Function(name, func(params ...any) (any, error) {
			order, comparable, err := ordered(params[0], params[1])
			if !comparable { // a NaN is unequal to all numbers
				return operator == "!=", err
			}
			return holds(order), err
		}, new(func(uint64, uint64) bool), new(func(uint64, int) bool), new(func(int, uint64) bool),
			new(func(uint64, float64) bool), new(func(float64, uint64) bool)), expr.Operator(operator, name))
	}
	return options
}

// ordered compares two numbers, at least one of which is a uint64 by its type.
func ordered(a, b any) (order int, comparable bool, err error) {
	x, xFloat, xNegative, okX := number(a)
	y, yFloat, yNegative, okY := number(b)
	switch {
	case !okX || !okY:
		return 0, false, fmt.Errorf("%T and %T are no numbers that can be compared", a, b)
	case xFloat != nil || yFloat != nil:
		p, q := float64(x), float64(y)
		if xFloat != nil {
			p = *xFloat
		}
		if yFloat != nil {
			q = *yFloat
		}
		return cmp.Compare(p, q), p == p && q == q, nil
	case xNegative != yNegative: // of the two, the uint64 is larger
		if xNegative {
			return -1, true, nil
		}
		return 1, true, nil
	}
	return cmp.Compare(x, y), true, nil
}

// number returns an integer that is not negative, or a floating-point number.
func number(v any) (n uint64, float *float64, negative, ok bool) {
	switch v := v.(type) {
	case large:
		return uint64(v), nil, false, true
	case uint64:
		return v, nil, false, true
	case int:
		return uint64(v), nil, v < 0, true
	case float64:
		return 0, &v, false, true
	}
	return 0, nil, false, false
}
