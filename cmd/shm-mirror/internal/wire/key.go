// Package wire is what an agent at the owner and an agent at a replica say to each other:
// keys and payloads. It knows nothing of who carries them.
//
// The package imports only package shm of this project.
package wire

import (
	"fmt"
	"strconv"
	"strings"
)

// Names that no value has, because Escape writes no M and no B behind a "=".
const (
	metaToken = "=META"
	beatToken = "=BEAT"
)

// Origin says whose values these are: a segment of a host.
type Origin struct{ Segment, Host string }

// ParseOrigin reads HOST/SEGMENT.
func ParseOrigin(text string) (Origin, error) {
	host, segment, ok := strings.Cut(text, "/")
	o := Origin{Segment: segment, Host: host}
	if !ok || host == "" || segment == "" || strings.Contains(segment, "/") {
		return Origin{}, fmt.Errorf("%q is not HOST/SEGMENT", text)
	}
	return o, nil
}

// String returns HOST/SEGMENT.
func (o Origin) String() string { return o.Host + "/" + o.Segment }

// Replica returns the usual name of the replica of an origin, such as plant@hostA.
func (o Origin) Replica() string { return o.Segment + "@" + o.Host }

func (o Origin) prefix() string { return Escape(o.Segment) + "." + Escape(o.Host) + "." }

// Meta is the key under which an owner's agent says which epoch is current.
func (o Origin) Meta() string { return o.prefix() + metaToken }

// Beat is the key of the heartbeat.
func (o Origin) Beat() string { return o.prefix() + beatToken }

// All matches all keys of the origin.
func (o Origin) All() string { return o.prefix() + ">" }

// Key is the key of a value, or of a part of it if it has several.
func (o Origin) Key(name string, part, parts int) string {
	k := o.prefix() + Escape(name)
	if parts > 1 {
		k += "." + strconv.Itoa(part)
	}
	return k
}

// Requests is the subject on which an owner's agent takes requests to set a value.
func (o Origin) Requests() string { return "shm.set." + strings.TrimSuffix(o.prefix(), ".") }

// Escape returns text as one token of a key. Letters, digits, - and _ stay; each other
// byte becomes = and two hexadecimal digits.
func Escape(text string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			b.WriteByte('=')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}

// Unescape undoes Escape.
func Unescape(token string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] != '=' {
			b.WriteByte(token[i])
			continue
		}
		if i+2 >= len(token) {
			return "", fmt.Errorf("%q ends within an escape", token)
		}
		c, err := strconv.ParseUint(token[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("%q is not escaped as a token", token)
		}
		b.WriteByte(byte(c))
		i += 2
	}
	if text := b.String(); Escape(text) == token {
		return text, nil
	}
	return "", fmt.Errorf("%q is not escaped as a token", token)
}

// OriginOf returns the origin that a key is of.
func OriginOf(key string) (Origin, error) {
	tokens := strings.SplitN(key, ".", 3)
	if len(tokens) < 3 {
		return Origin{}, fmt.Errorf("key %q has no origin", key)
	}
	segment, err := Unescape(tokens[0])
	if err != nil {
		return Origin{}, err
	}
	host, err := Unescape(tokens[1])
	return Origin{segment, host}, err
}
