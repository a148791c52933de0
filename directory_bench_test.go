//go:build linux

package shm

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// sizes are how many values a segment has: the cost of one must not depend on
// it.
var directorySizes = []int{1_000, 100_000}

// BenchmarkNamesMake makes n values in a new segment; one op is one value.
func BenchmarkNamesMake(b *testing.B) {
	for _, n := range directorySizes {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			names := benchNames(n)
			b.ReportAllocs()
			var s *Segment
			for i := 0; b.Loop(); i++ {
				if i%n == 0 {
					b.StopTimer()
					s = open(b, testName(b), nil)
					b.StartTimer()
				}
				if _, err := NewRawValue(s, names[i%n], int64(i)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkNamesOpen reads the directory of a segment with n values, as each
// process does when it opens it; one op is one value.
func BenchmarkNamesOpen(b *testing.B) {
	for _, n := range directorySizes {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			s := open(b, testName(b), nil)
			nameValues(b, s, 0, n)
			m := s.m.Load()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%n == 0 {
					m.dir = directory{}
					if err := m.dir.extend(m, s.file); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkNamesAttach attaches to one of n values at random, a Go map's lookup
// beside it. The names that are asked for lie in that order, so that reading
// them costs nothing.
func BenchmarkNamesAttach(b *testing.B) {
	for _, n := range directorySizes {
		asked := make([]string, n)
		for i, j := range rand.Perm(n) {
			asked[i] = valueName(j)
		}
		b.Run(fmt.Sprintf("impl=shm/n=%d", n), func(b *testing.B) {
			s := open(b, testName(b), nil)
			nameValues(b, s, 0, n)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := NewRawValue(s, asked[i%n], int64(0)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("impl=map/n=%d", n), func(b *testing.B) {
			all := map[string]*int64{}
			for _, name := range benchNames(n) {
				all[name] = new(int64)
			}
			for i := 0; b.Loop(); i++ {
				if all[asked[i%n]] == nil {
					b.Fatal("missing")
				}
			}
		})
	}
}

func benchNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = valueName(i)
	}
	return names
}
