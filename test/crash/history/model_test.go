package history_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/anishathalye/porcupine"
)

// The kinds of operations. Their arguments and results are numbers.
const (
	load = iota + 1
	store
	swap
	add
	compareAndSwap // of argument/1000 by argument%1000
	lock           // the result is 1 if Abandoned is true, else 0
	unlock
	die // of a client that may hold the lock
)

// torn is the result of a load that saw half of one store and half of another. No
// model explains it.
const torn = math.MinInt64

// input is an operation as the models see it.
type input struct {
	client  int
	kind    int64
	arg     int64
	unknown bool // the client was killed: nobody knows the result, or whether it happened; if not, it comes last
}

// numberModel is a number that one operation at a time changes.
var numberModel = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(state, in, out any) (bool, any) {
		n, op, result := state.(int64), in.(input), out.(int64)
		next, want := n, n
		switch op.kind {
		case store:
			next, want = op.arg, 0
		case swap:
			next = op.arg
		case add:
			next = n + op.arg
			want = next
		case compareAndSwap:
			want = 0
			if n == op.arg/1000 {
				next, want = op.arg%1000, 1
			}
		}
		return op.unknown || result == want, next
	},
	DescribeOperation: describe,
}

// holder is the state of a lock.
type holder struct {
	client    int  // that holds it, from 1
	abandoned bool // a client died while it held it
}

// mutexModel is a lock. A client that takes it asks whether it was abandoned.
var mutexModel = porcupine.Model{
	Init: func() any { return holder{} },
	Step: func(state, in, out any) (bool, any) {
		h, op, result := state.(holder), in.(input), out.(int64)
		me := op.client + 1
		switch op.kind {
		case lock:
			if op.unknown {
				if h.client == 0 {
					h.client = me
				}
				return true, h
			}
			told := result == 1
			return h.client == 0 && told == h.abandoned, holder{me, h.abandoned}
		case unlock:
			if h.client == me {
				return true, holder{}
			}
			return op.unknown, h // it died before
		}
		if h.client == me {
			h = holder{0, true}
		}
		return true, h
	},
	DescribeOperation: describe,
}

func describe(in, out any) string {
	op := in.(input)
	name := []string{"", "load", "store", "swap", "add", "compareAndSwap", "lock", "unlock", "die"}[op.kind]
	return fmt.Sprintf("%s(%d) = %v", name, op.arg, out)
}

// The models refuse what must not happen, and accept what may.
func TestImpossibleHistories(t *testing.T) {
	op := func(client int, kind, arg, call, result, end int64) porcupine.Operation {
		return porcupine.Operation{ClientId: client, Input: input{client, kind, arg, end == math.MaxInt64}, Call: call, Output: result, Return: end}
	}
	const never = math.MaxInt64
	for what, c := range map[string]struct {
		model porcupine.Model
		all   []porcupine.Operation
		want  bool
	}{
		"a lost update":               {numberModel, []porcupine.Operation{op(0, add, 1, 1, 1, 5), op(1, add, 1, 2, 1, 6)}, false},
		"two updates":                 {numberModel, []porcupine.Operation{op(0, add, 1, 1, 2, 5), op(1, add, 1, 2, 1, 6)}, true},
		"a load of what is gone":      {numberModel, []porcupine.Operation{op(0, store, 7, 1, 0, 2), op(1, load, 0, 3, 0, 4)}, false},
		"a load during the store":     {numberModel, []porcupine.Operation{op(0, store, 7, 1, 0, 4), op(1, load, 0, 2, 0, 3)}, true},
		"back again":                  {numberModel, []porcupine.Operation{op(0, store, 7, 1, 0, 9), op(1, load, 0, 2, 7, 3), op(1, load, 0, 4, 0, 5)}, false},
		"a torn load":                 {numberModel, []porcupine.Operation{op(0, store, 7, 1, 0, 4), op(1, load, 0, 2, torn, 3)}, false},
		"a swap of two":               {numberModel, []porcupine.Operation{op(0, compareAndSwap, 7, 1, 1, 5), op(1, compareAndSwap, 8, 2, 1, 6)}, false},
		"one that was killed":         {numberModel, []porcupine.Operation{op(0, store, 7, 1, 0, never), op(1, load, 0, 2, 0, 3), op(1, load, 0, 4, 7, 5)}, true},
		"what a dead one takes back":  {numberModel, []porcupine.Operation{op(0, store, 7, 1, 0, never), op(1, load, 0, 2, 7, 3), op(1, load, 0, 4, 0, 5)}, false},
		"two holders":                 {mutexModel, []porcupine.Operation{op(0, lock, 0, 1, 0, 2), op(1, lock, 0, 3, 0, 4), op(0, unlock, 0, 5, 0, 6)}, false},
		"one after the other":         {mutexModel, []porcupine.Operation{op(0, lock, 0, 1, 0, 2), op(1, lock, 0, 3, 0, 7), op(0, unlock, 0, 5, 0, 6)}, true},
		"a robbed holder":             {mutexModel, []porcupine.Operation{op(0, lock, 0, 1, 0, 2), op(1, lock, 0, 3, 1, 4), op(1, unlock, 0, 5, 0, 6), op(0, unlock, 0, 7, 0, 8)}, false},
		"a dead holder":               {mutexModel, []porcupine.Operation{op(0, lock, 0, 1, 0, 2), op(0, die, 0, 3, 0, never), op(1, lock, 0, 4, 1, 5)}, true},
		"a dead holder nobody tells":  {mutexModel, []porcupine.Operation{op(0, lock, 0, 1, 0, 2), op(0, die, 0, 3, 0, never), op(1, lock, 0, 4, 0, 5)}, false},
		"told without a reason":       {mutexModel, []porcupine.Operation{op(0, lock, 0, 1, 1, 2)}, false},
		"told twice after one unlock": {mutexModel, []porcupine.Operation{op(0, lock, 0, 1, 0, 2), op(0, die, 0, 3, 0, never), op(1, lock, 0, 4, 1, 5), op(1, unlock, 0, 6, 0, 7), op(1, lock, 0, 8, 1, 9)}, false},
	} {
		if got := porcupine.CheckOperations(c.model, c.all); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}
