package generate

import (
	"errors"
	"io/fs"
	"testing"

	"example.org/shm"
)

func TestNames(t *testing.T) {
	for text, want := range map[string][3]string{ // camel, snake, asIs
		"requests": {"Requests", "requests", "requests"}, "odd name.x[1]": {"OddNameX1", "odd_name_x_1", "odd_name_x_1"},
		"9lives": {"X9lives", "x9lives", "x9lives"}, "\x1b[2J": {"X2J", "x2j", "x2j"}, "": {"X", "x", ""}, "größe": {"GrE", "gr_e", "gr_e"},
		"_x": {"X", "x", "_x"},
	} {
		if camel(text) != want[0] || snake(text) != want[1] || asIs(text) != want[2] {
			t.Errorf("%q is %q, %q and %q", text, camel(text), snake(text), asIs(text))
		}
	}
	n := newNames(camel, "Seg")
	if a, b, c := n.name("a.b"), n.name("a b"), n.name("seg"); a != "AB" || b != "AB2" || c != "Seg2" {
		t.Errorf("%s %s %s", a, b, c)
	}
}

// TestTypes refuses a struct that no compiler would lay out so.
func TestTypes(t *testing.T) {
	for format, ok := range map[string]bool{
		"<q": true, "(2,3)<h": true, "T{<b:a:3x<i:b:}": true, "(2)T{<i:a:<i:b:}": true, "T{4x<i:a:}": false,
	} {
		l, err := shm.ParseLayout(format)
		if err != nil {
			t.Logf("%s: %v", format, err)
			continue
		}
		if _, err := typeOf(l); (err == nil) != ok || err != nil && !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", format, err)
		}
	}
}
