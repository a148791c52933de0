package sys

import "strings"

// isBeside reports whether a name is a prefix, eight hexadecimal digits and a suffix.
func isBeside(name, prefix, suffix string) bool {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return false
	}
	digits, ok = strings.CutSuffix(digits, suffix)
	return ok && len(digits) == 8 && strings.Trim(digits, "0123456789abcdef") == ""
}
