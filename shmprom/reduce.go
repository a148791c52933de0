package shmprom

import "reflect"

// reduced shows one number of all elements or rows, for each field if they are structs.
func (w *walk) reduced(i item, mode Mode, n int, at func(int) (any, labels, bool), field string) {
	var all any
	for k := range n {
		if v, _, there := at(k); there {
			all = combine(mode, all, v)
		}
	}
	if all != nil {
		w.any(i, all, field, "index")
	}
}

// combine joins two numbers, or the numbers of two structs or arrays. Of a text nothing is
// left.
func combine(mode Mode, a, b any) any {
	switch b := b.(type) {
	case map[string]any:
		joined := map[string]any{}
		had, _ := a.(map[string]any)
		for name, v := range b {
			joined[name] = combine(mode, had[name], v)
		}
		return joined
	default:
		r := reflect.ValueOf(b)
		if r.Kind() == reflect.Slice {
			had, _ := a.([]any)
			joined := make([]any, r.Len())
			for i := range joined {
				var first any
				if i < len(had) {
					first = had[i]
				}
				joined[i] = combine(mode, first, r.Index(i).Interface())
			}
			return joined
		}
		y, ok := number(r)
		if !ok {
			return nil
		}
		if x, ok := a.(float64); ok {
			return join(mode, x, y)
		}
		return y
	}
}

func join(mode Mode, x, y float64) float64 {
	switch mode {
	case Min:
		return min(x, y)
	case Max:
		return max(x, y)
	}
	return x + y
}
