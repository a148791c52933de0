package recipes

import (
	"context"
	"fmt"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/shmtest"
)

func TestMain(m *testing.M) { shmtest.Main(m) }

func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}

var before, after = time.Unix(1, 0), time.Unix(2, 0)

// A process that is killed leaves all of its change or nothing of it, as the page says of
// these recipes. Some deaths leave the one, and some the other.
func TestAllOrNothing(t *testing.T) {
	for name, test := range map[string]struct {
		setup, section func(*shm.Segment)
		find           func(*shm.Segment) any
		old, new       any
	}{
		"settings": {
			setup: func(s *shm.Segment) { must(shm.NewStruct(s, "settings", settings{Limit: 1, Version: 1})) },
			section: func(s *shm.Segment) {
				must(0, setLimit(context.Background(), must(shm.NewStruct(s, "settings", settings{})), 2))
			},
			find: func(s *shm.Segment) any { return must(shm.NewStruct(s, "settings", settings{})).Load() },
			old:  settings{Limit: 1, Version: 1},
			new:  settings{Limit: 2, Version: 2},
		},
		"samples": {
			setup: func(s *shm.Segment) { must(shm.NewRing[sample](s, "samples", 4)).Append(sample{At: 1}) },
			section: func(s *shm.Segment) {
				must(shm.NewRing[sample](s, "samples", 4)).Append(sample{2, [3]float32{2, 2, 2}})
			},
			find: func(s *shm.Segment) any {
				newest, _, _ := must(shm.NewRing[sample](s, "samples", 4)).Last()
				return newest
			},
			old: sample{At: 1},
			new: sample{2, [3]float32{2, 2, 2}},
		},
		"bucket": {
			setup: func(s *shm.Segment) { must(shm.NewStruct(s, "bucket", bucket{5, before.UnixNano()})) },
			section: func(s *shm.Segment) {
				allow(must(shm.NewStruct(s, "bucket", bucket{})), 3, 10, after)
			},
			find: func(s *shm.Segment) any { return must(shm.NewStruct(s, "bucket", bucket{})).Load() },
			old:  bucket{5, before.UnixNano()},
			new:  bucket{5 + 3 - 1, after.UnixNano()},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := map[any]int{}
			shmtest.States(t, test.setup, test.section, func(s *shm.Segment) error {
				x := test.find(s)
				found[x]++
				if x != test.old && x != test.new {
					return fmt.Errorf("it is %v", x)
				}
				return nil
			})
			if found[test.old] == 0 || found[test.new] == 0 {
				t.Errorf("of the states, %d have %v and %d have %v", found[test.old], test.old, found[test.new], test.new)
			}
		})
	}
}
