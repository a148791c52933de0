package glob

import "testing"

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		glob, name string
		want       bool
	}{
		{"*", "a/b/c", true},
		{"mirror*", "mirror/stale since", true},
		{"a?b", "a/b", true},
		{"a/*", "a/b", true},
		{"a/*", "ab", false},
		{"[^m]*", "mirror/state", false},
		{"[^m]*", "x/y", true},
		{"n[0]", "n[0]", true},
		{"n[0]", "n0", true},
		{"[", "[", true},
		{"[", "x", false},
		{"n", "N", false},
		{"", "n", false},
	} {
		if got := Match(c.glob, c.name); got != c.want {
			t.Errorf("Match(%q, %q) is %v", c.glob, c.name, got)
		}
	}
}

func TestCheck(t *testing.T) {
	if err := Check("*", "a[bc]"); err != nil {
		t.Error(err)
	}
	if err := Check("*", "a[b", "["); err == nil || err.Error() != `"a[b" is not a pattern: syntax error in pattern` {
		t.Errorf("the error is %v", err)
	}
}
