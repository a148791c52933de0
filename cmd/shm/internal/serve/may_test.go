package serve

import (
	"runtime"
	"testing"
)

// A page looks at what was named, or at what the list of all segments has, and at no other
// file of the machine.
func TestMay(t *testing.T) {
	all, named := &Server{}, &Server{c: Config{Names: []string{"x"}}}
	for segment, want := range map[string]bool{
		"x": true, "y": true, "/etc/passwd": false, "../x": false,
		`..\x`: runtime.GOOS != "windows", `C:\x`: runtime.GOOS != "windows", "C:x": runtime.GOOS != "windows",
	} {
		if got := all.may(segment); got != want {
			t.Errorf("%s: %v", segment, got)
		}
		if got := named.may(segment); got != (segment == "x") {
			t.Errorf("%s, when x was named: %v", segment, got)
		}
	}
}
