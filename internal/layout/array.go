package layout

import (
	"strconv"
	"strings"
)

// Array returns the layout of an array of elem. It puts the dimensions,
// outermost first, before those that elem has, as ctypes does.
//
// Preconditions: the dimensions are positive, and the size does not overflow.
func Array(elem Layout, dims ...int) Layout {
	if len(dims) == 0 {
		return elem
	}
	shape := ""
	for _, n := range dims {
		shape += "," + strconv.Itoa(n)
		elem.Size *= n
	}
	if inner, ok := strings.CutPrefix(elem.Format, "("); ok {
		elem.Format = "(" + shape[1:] + "," + inner
	} else {
		elem.Format = "(" + shape[1:] + ")" + elem.Format
	}
	return elem
}

// Dims returns the dimensions of an array, outermost first, and its element. A
// layout that is not an array has no dimensions and is its own element.
func (l Layout) Dims() (dims []int, elem Layout) {
	list, rest, ok := strings.Cut(strings.TrimPrefix(l.Format, "("), ")")
	if !ok || rest == "" || l.Format[0] != '(' {
		return nil, l
	}
	elem = l
	elem.Format = rest
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n <= 0 {
			return nil, l
		}
		dims = append(dims, n)
		elem.Size /= n
	}
	return dims, elem
}

// Parts is like Dims, but treats a C string as one element: its length is not
// among the dimensions, it is the element's Size. The element is a number, a
// struct or a C string.
func (l Layout) Parts() (dims []int, elem Layout) {
	dims, elem = l.Dims()
	if elem.IsText() {
		if last := len(dims) - 1; last >= 0 {
			elem.Size, dims = dims[last], dims[:last]
		}
	}
	return dims, elem
}
