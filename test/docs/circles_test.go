package docs_test

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestNoCirclesOfFiles checks that the files of each package of the library refer to
// each other without circles, so that they can be read in an order.
func TestNoCirclesOfFiles(t *testing.T) {
	for _, l := range layers {
		c := check(t, l.dir)
		refers := map[string]map[string]string{} // from file to file, with an example
		for id, object := range c.uses {
			if object.Pkg() != c.pkg {
				continue
			}
			from, to := filepath.Base(c.fset.Position(id.Pos()).Filename), filepath.Base(c.fset.Position(object.Pos()).Filename)
			if refers[from] == nil {
				refers[from] = map[string]string{}
			}
			if from != to {
				refers[from][to] = object.Name()
			}
		}
		var circles []string
		for _, circle := range strongComponents(refers) {
			circles = append(circles, strings.Join(circle, " "))
		}
		slices.Sort(circles)
		if len(circles) > 0 {
			t.Errorf("%s: circles of files %q, want none", l.dir, circles)
			for from, all := range refers {
				for to, name := range all {
					t.Logf("%s refers to %s of %s", from, name, to)
				}
			}
		}
	}
}

// strongComponents returns the sets of more than one file in which each file refers
// to each other one, maybe through others.
func strongComponents(refers map[string]map[string]string) (components [][]string) {
	reach := map[string]map[string]bool{}
	for from := range refers {
		reach[from] = map[string]bool{}
		for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
			for to := range refers[queue[0]] {
				if !reach[from][to] {
					reach[from][to] = true
					queue = append(queue, to)
				}
			}
		}
	}
	for _, file := range slices.Sorted(maps.Keys(reach)) {
		var component []string
		for _, other := range slices.Sorted(maps.Keys(reach[file])) {
			if reach[other][file] {
				component = append(component, other)
			}
		}
		if len(component) > 1 && component[0] == file {
			components = append(components, component)
		}
	}
	return components
}
