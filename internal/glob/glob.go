// Package glob matches names of values with patterns.
//
// The package imports nothing of this module.
package glob

import (
	"fmt"
	"path"
	"strings"
)

// Check returns an error that names the first pattern with a mistake in it.
func Check(globs ...string) error {
	for _, g := range globs {
		if _, err := path.Match(g, ""); err != nil {
			return fmt.Errorf("%q is not a pattern: %w", g, err)
		}
	}
	return nil
}

// Match reports whether a pattern is the name, or matches all of it as path.Match does,
// except that * and ? match "/" too: "/" means nothing in the name of a value. A pattern
// with a mistake in it matches nothing else.
func Match(glob, name string) bool {
	if glob == name {
		return true
	}
	const notSlash = "\x01" // which no class of the pattern treats otherwise
	ok, err := path.Match(strings.ReplaceAll(glob, "/", notSlash), strings.ReplaceAll(name, "/", notSlash))
	return ok && err == nil
}
