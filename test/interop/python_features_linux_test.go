package interop_test

import (
	"fmt"
	"strings"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// heir attaches to the segment that its parent in Python has passed. It adds to the
// number, makes a value, and prints what the number was.
var heir = shmtest.Helper("heir", func(args []string) error {
	s, err := shm.Inherited(strings.Join(args, ""), nil)
	if err != nil {
		return err
	}
	n, err := shm.NewValue[int64](s, "n", 0)
	if err != nil {
		return err
	}
	sum := n.Add(1)
	if _, err := shm.NewRawValue[int64](s, "fromGo", sum); err != nil {
		return err
	}
	fmt.Println(sum)
	return nil
})

// showForPython answers what python/tests ask of entries.
func showForPython(s *shm.Segment, words []string) (string, error) {
	e, ok := s.Lookup(words[1])
	if !ok {
		return "", fmt.Errorf("no value %q", words[1])
	}
	if words[0] == "parse" {
		return "ok", e.Parse(strings.Join(words[2:], " "))
	}
	return e.Text(), nil
}
