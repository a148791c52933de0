package history_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"
)

// Additions to a Counter and values of a Ring have more orders than a search for one can
// try, and need none: what may be seen when has bounds.

// checkCounter returns an error if a load of a counter that begins at 0 is less than what
// was added before it, more than what was added until it returned, or less than a load
// before it.
func checkCounter(all []porcupine.Operation) error {
	for _, l := range all {
		in, result := l.Input.(input), l.Output.(int64)
		if in.kind != load || in.unknown {
			continue
		}
		least, most := int64(0), int64(0)
		for _, op := range all {
			switch o := op.Input.(input); {
			case o.kind == die:
			case o.kind == load:
				if !o.unknown && op.Return < l.Call {
					least = max(least, op.Output.(int64))
				}
			case op.Call < l.Return:
				most += o.arg
			}
		}
		added := int64(0)
		for _, op := range all {
			if o := op.Input.(input); o.kind != load && o.kind != die && op.Return < l.Call {
				added += o.arg
			}
		}
		if least = max(least, added); result < least || result > most {
			return fmt.Errorf("a load from %d to %d is %d, not %d to %d", l.Call, l.Return, result, least, most)
		}
	}
	return nil
}

// checkRing returns an error unless all readers have the same values under the same
// numbers, those that were appended under them, not before that; a reader that got nothing
// missed nothing; and who appended later has the higher number.
func checkRing(all []porcupine.Operation) error {
	numbers := map[int64]int64{} // of each value
	values := map[int64]porcupine.Operation{}
	begun := map[int64]porcupine.Operation{} // appends, by their value
	for _, op := range all {
		if in := op.Input.(input); in.kind != load && in.kind != die {
			begun[in.arg] = op
			if !in.unknown {
				seq := op.Output.(int64)
				if other, twice := values[seq]; twice || seq < 1 {
					return fmt.Errorf("values %d and %d have number %d", in.arg, other.Input.(input).arg, seq)
				}
				values[seq], numbers[in.arg] = op, seq
			}
		}
	}
	for _, op := range all {
		in, result := op.Input.(input), op.Output.(int64)
		if in.kind != load || in.unknown {
			continue
		}
		if result == torn {
			return fmt.Errorf("a reader had half a value at %d, or a wrong number", op.Return)
		}
		if next := -result; result < 0 {
			for seq, before := range values {
				if before.Return < op.Call && seq >= next {
					return fmt.Errorf("number %d was there since %d, and a reader did not find number %d at %d", seq, before.Return, next, op.Call)
				}
			}
			continue
		}
		seq, n := result>>32, result&math.MaxUint32
		from, there := begun[n]
		if !there || from.Call > op.Return {
			return fmt.Errorf("a reader had value %d at %d, before it was appended", n, op.Return)
		}
		if known, ok := numbers[n]; ok && known != seq {
			return fmt.Errorf("value %d has numbers %d and %d", n, known, seq)
		}
		if other, ok := values[seq]; ok && other.Input.(input).arg != n {
			return fmt.Errorf("number %d is of the values %d and %d", seq, n, other.Input.(input).arg)
		}
		values[seq], numbers[n] = from, seq
	}
	var order []int64
	for seq := range values {
		order = append(order, seq)
	}
	slices.Sort(order)
	latest := int64(0)
	for _, seq := range order {
		if op := values[seq]; op.Return < latest {
			return fmt.Errorf("number %d was appended until %d, and a lower one from %d on", seq, op.Return, latest)
		} else {
			latest = max(latest, op.Call)
		}
	}
	return nil
}

func TestManyAtOnce(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	for subject, check := range map[string]func([]porcupine.Operation) error{"counter": checkCounter, "ring": checkRing} {
		t.Run(subject, func(t *testing.T) {
			total, cut, loads := 0, 0, 0
			for round := range rounds {
				all := record(t, subject, round%clients)
				if err := check(all); err != nil {
					slices.SortFunc(all, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
					t.Fatalf("round %d: %v in %s", round, err, text(numberModel, all))
				}
				total += len(all)
				for _, op := range all {
					if in := op.Input.(input); in.unknown {
						cut++
					} else if in.kind == load && op.Output.(int64) > 0 {
						loads++
					}
				}
			}
			t.Logf("%d operations, %d loads of something, %d cut off by a kill", total, loads, cut)
			if loads == 0 {
				t.Error("nobody saw anything")
			}
		})
	}
}

// The checks refuse what must not happen, and accept what may.
func TestImpossibleHistoriesOfMany(t *testing.T) {
	const never = math.MaxInt64
	op := func(kind, arg, call, result, end int64) porcupine.Operation {
		return porcupine.Operation{Input: input{0, kind, arg, end == never}, Call: call, Output: result, Return: end}
	}
	for what, c := range map[string]struct {
		check func([]porcupine.Operation) error
		all   []porcupine.Operation
		want  bool
	}{
		"a sum":                        {checkCounter, []porcupine.Operation{op(add, 3, 1, 0, 2), op(add, 4, 3, 0, 6), op(load, 0, 4, 3, 5), op(load, 0, 7, 7, 8)}, true},
		"a lost addition":              {checkCounter, []porcupine.Operation{op(add, 3, 1, 0, 2), op(load, 0, 3, 0, 4)}, false},
		"a doubled addition":           {checkCounter, []porcupine.Operation{op(add, 3, 1, 0, 2), op(load, 0, 3, 6, 4)}, false},
		"an addition that comes later": {checkCounter, []porcupine.Operation{op(load, 0, 1, 3, 2), op(add, 3, 3, 0, 4)}, false},
		"a counter that goes back":     {checkCounter, []porcupine.Operation{op(add, 3, 1, 0, 9), op(load, 0, 2, 3, 3), op(load, 0, 4, 0, 5)}, false},
		"a kill in an addition":        {checkCounter, []porcupine.Operation{op(add, 3, 1, 0, never), op(load, 0, 2, 0, 3), op(load, 0, 4, 3, 5)}, true},
		"a stream":                     {checkRing, []porcupine.Operation{op(store, 7, 1, 1, 2), op(store, 8, 3, 2, 4), op(load, 0, 5, pair(1, 7), 6), op(load, 0, 7, pair(2, 8), 8), op(load, 0, 9, -3, 10)}, true},
		"a kill in an append":          {checkRing, []porcupine.Operation{op(store, 7, 1, 0, never), op(load, 0, 5, pair(1, 7), 6), op(store, 8, 7, 2, 8)}, true},
		"one number twice":             {checkRing, []porcupine.Operation{op(store, 7, 1, 1, 3), op(store, 8, 2, 1, 4)}, false},
		"another value":                {checkRing, []porcupine.Operation{op(store, 7, 1, 1, 2), op(store, 8, 1, 2, 2), op(load, 0, 5, pair(1, 8), 6)}, false},
		"two views of one number":      {checkRing, []porcupine.Operation{op(store, 7, 1, 0, never), op(store, 8, 1, 0, never), op(load, 0, 5, pair(1, 8), 6), op(load, 0, 5, pair(1, 7), 6)}, false},
		"a value before its append":    {checkRing, []porcupine.Operation{op(load, 0, 1, pair(1, 7), 2), op(store, 7, 3, 1, 4)}, false},
		"a value that is not found":    {checkRing, []porcupine.Operation{op(store, 7, 1, 1, 2), op(load, 0, 3, -1, 4)}, false},
		"numbers in a wrong order":     {checkRing, []porcupine.Operation{op(store, 7, 1, 2, 2), op(store, 8, 3, 1, 4)}, false},
		"half a value":                 {checkRing, []porcupine.Operation{op(load, 0, 1, torn, 2)}, false},
	} {
		if err := c.check(c.all); (err == nil) != c.want {
			t.Errorf("%s: %v", what, err)
		}
	}
}
