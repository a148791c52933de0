package text

import (
	"fmt"
	"strconv"
	"strings"

	"example.org/shm/internal/errs"
)

// literal reads the string literal at the start of s, and returns its text and the
// number of its bytes. It is one of Go, or one of JSON, which has two things that Go has
// not: \/ for a slash, and two escapes of surrogates for one character, as in "\ud83d\ude00".
func literal(s string) (text string, n int, err error) {
	if strings.HasPrefix(s, "'") {
		return "", 0, errs.Invalid("single quotes are for characters")
	}
	if !strings.HasPrefix(s, `"`) {
		q, err := strconv.QuotedPrefix(s)
		if err != nil {
			return "", 0, err
		}
		text, err = strconv.Unquote(q)
		return text, len(q), err
	}
	b := []byte{'"'} // the literal as Go has it
	for n = 1; n < len(s) && s[n] != '"'; {
		switch r, ok := surrogates(s[n:]); {
		case ok:
			b = fmt.Appendf(b, `\U%08x`, r)
			n += 2 * len(`\ud83d`)
		case strings.HasPrefix(s[n:], `\/`):
			b = append(b, '/')
			n += len(`\/`)
		case s[n] == '\\' && n+1 < len(s):
			b = append(b, s[n], s[n+1])
			n += 2
		default:
			b = append(b, s[n])
			n++
		}
	}
	if n == len(s) {
		return "", 0, errs.Invalid("the quote is not closed")
	}
	text, err = strconv.Unquote(string(append(b, '"')))
	return text, n + 1, err
}

// surrogates returns the character that two escapes at the start of s stand for.
func surrogates(s string) (r rune, ok bool) {
	if len(s) < 12 || s[:2] != `\u` || s[6:8] != `\u` {
		return 0, false
	}
	high, err1 := strconv.ParseUint(s[2:6], 16, 16)
	low, err2 := strconv.ParseUint(s[8:12], 16, 16)
	if err1 != nil || err2 != nil || high>>10 != 0xd800>>10 || low>>10 != 0xdc00>>10 {
		return 0, false
	}
	return rune(0x10000 + (high&0x3ff)<<10 + low&0x3ff), true
}
