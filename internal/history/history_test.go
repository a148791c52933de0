//go:build linux

// Package history_test records what processes do at once to a Value, a Struct
// and a Mutex, some of them killed meanwhile, and has porcupine look for an order
// that explains all they saw.
package history_test

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"example.org/shm"
	"github.com/anishathalye/porcupine"
	"golang.org/x/sys/unix"
)

// What an operation is; its argument and result are numbers.
const (
	load = iota + 1
	store
	swap
	add
	compareAndSwap // of argument/1000 by argument%1000
	lock           // the result is what Abandoned says
	unlock
	die // of a client that may hold the lock
)

// A client logs its operations in shared memory, which outlives it: what it is
// about to do, then what came of it.
const (
	kindField = iota
	argField
	callField
	resultField
	returnField // 0: never
	fields
)

const (
	clients    = 4
	operations = 600
	variable   = "SHM_HISTORY_CLIENT"
)

// input is an operation as the models see it. Of one whose client was killed
// nobody knows the result, or whether it happened: if not, it comes last.
type input struct {
	client  int
	kind    int64
	arg     int64
	unknown bool
}

func TestMain(m *testing.M) {
	if os.Getenv(variable) == "" {
		os.Exit(m.Run())
	}
	if err := client(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// now is the time on a clock that all processes share.
func now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err)
	}
	return t.Nano()
}

// block is a struct whose fields are all the same.
type block struct{ A [24]int64 }

func blockOf(n int64) (b block) {
	for i := range b.A {
		b.A[i] = n
	}
	return b
}

func (b block) number() int64 {
	if b != blockOf(b.A[0]) {
		return math.MinInt64 // torn: no model explains it
	}
	return b.A[0]
}

// board is what a round is about.
type board struct {
	Run    shm.Atomic[uint32]
	Ready  shm.Atomic[uint32]
	Value  shm.Value[int64]
	Struct shm.Struct[block]
	Mutex  *shm.Mutex
	Log0   shm.RawArray[int64]
	Log1   shm.RawArray[int64]
	Log2   shm.RawArray[int64]
	Log3   shm.RawArray[int64]
}

func (b *board) log(client int) []int64 {
	return []shm.RawArray[int64]{b.Log0, b.Log1, b.Log2, b.Log3}[client].Slice()
}

// subjects are the ways to do an operation.
var subjects = map[string]func(b *board, kind, arg int64) int64{
	"value": func(b *board, kind, arg int64) (result int64) {
		switch kind {
		case load:
			return b.Value.Load()
		case store:
			b.Value.Store(arg)
		case swap:
			return b.Value.Swap(arg)
		case add:
			return b.Value.Add(arg)
		case compareAndSwap:
			if b.Value.CompareAndSwap(arg/1000, arg%1000) {
				return 1
			}
		}
		return 0
	},
	"struct": func(b *board, kind, arg int64) (result int64) {
		switch kind {
		case load:
			return b.Struct.Load().number()
		case store:
			b.Struct.Store(blockOf(arg))
		case swap:
			b.Struct.Update(func(p *block) { result, *p = p.number(), blockOf(arg) })
		case add:
			b.Struct.Update(func(p *block) {
				*p = blockOf(p.number() + arg)
				result = p.number()
			})
		case compareAndSwap:
			b.Struct.Update(func(p *block) {
				if p.number() == arg/1000 {
					*p, result = blockOf(arg%1000), 1
				}
			})
		}
		return result
	},
	"mutex": func(b *board, kind, arg int64) int64 {
		if kind == unlock {
			b.Mutex.Unlock()
			return 0
		}
		b.Mutex.Lock()
		if b.Mutex.Abandoned() {
			return 1
		}
		return 0
	},
}

// client does its operations and logs them. Arguments: segment, subject, number.
func client(args []string) error {
	number, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	var b board
	if err := shm.Bind(s, &b); err != nil {
		return err
	}
	log, do := b.log(number), subjects[args[1]]
	b.Ready.Add(1)
	for b.Run.Load() == 0 {
	}
	for i := range operations {
		kind, arg := int64(lock+i%2), int64(0)
		if args[1] != "mutex" {
			// Numbers of one digit and often: else no CompareAndSwap succeeds.
			kind, arg = int64(rand.IntN(compareAndSwap)+1), int64(rand.IntN(10))
			if kind == compareAndSwap {
				arg += 1000 * int64(rand.IntN(10))
			}
		}
		entry := log[i*fields : (i+1)*fields]
		entry[argField], entry[callField] = arg, now()
		entry[kindField] = kind
		perhapsYield()
		entry[resultField] = do(&b, kind, arg)
		perhapsYield()
		entry[returnField] = now()
	}
	return nil
}

// perhapsYield lets others run in the midst of an operation, or be killed there.
func perhapsYield() {
	if rand.IntN(4) == 0 {
		_, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) // never fails
	}
}

// history reads a log.
func history(log []int64, number int) (all []porcupine.Operation) {
	for i := range operations {
		entry := log[i*fields : (i+1)*fields]
		if entry[kindField] == 0 {
			break
		}
		op := porcupine.Operation{
			ClientId: number, Input: input{number, entry[kindField], entry[argField], entry[returnField] == 0},
			Call: entry[callField], Output: entry[resultField], Return: entry[returnField],
		}
		if op.Return == 0 {
			op.Return = math.MaxInt64
		}
		all = append(all, op)
	}
	return all
}

// numberModel is a number that is changed by one operation at a time.
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

// holder is the state of a lock: whom it belongs to, from 1, and whether one
// died with it.
type holder struct {
	client    int
	abandoned bool
}

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
		case unlock: // by one that has asked
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

// record runs one round, in which some clients are killed.
func record(t *testing.T, subject string, victims int) (all []porcupine.Operation) {
	t.Helper()
	name := fmt.Sprintf("shmtest-history-%d-%d", os.Getpid(), rand.Uint32())
	s, err := shm.Open(name, &shm.Options{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(shm.Remove(name), s.Close()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}()
	for i := range clients {
		if _, err := shm.NewRawArray[int64](s, fmt.Sprint("Log", i), operations*fields); err != nil {
			t.Fatal(err)
		}
	}
	var b board
	if err := shm.Bind(s, &b); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var running [clients]*exec.Cmd
	for i := range running {
		cmd := exec.Command(self, name, subject, strconv.Itoa(i))
		if runner := os.Getenv("SHM_TEST_RUNNER"); runner != "" {
			cmd = exec.Command(runner, append([]string{self}, cmd.Args[1:]...)...)
		}
		cmd.Env = append(os.Environ(), variable+"=1", "GORACE=atexit_sleep_ms=0") // else its programs sleep a second before they end
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		running[i] = cmd
	}
	for b.Ready.Load() < clients {
		time.Sleep(time.Millisecond)
	}
	b.Run.Store(1)
	for i, cmd := range running {
		if i < victims {
			time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond) // until it is somewhere
			at := now()
			if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			all = append(all, porcupine.Operation{ClientId: i, Input: input{client: i, kind: die}, Call: at, Output: int64(0), Return: math.MaxInt64})
		}
	}
	for i, cmd := range running {
		if err := cmd.Wait(); err != nil && i >= victims {
			t.Fatal(err)
		}
		all = append(all, history(b.log(i), i)...)
	}
	return all
}

func TestHistories(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	for subject, model := range map[string]porcupine.Model{"value": numberModel, "struct": numberModel, "mutex": mutexModel} {
		t.Run(subject, func(t *testing.T) {
			total, cut, overlap := 0, 0, 0
			for round := range rounds {
				all := record(t, subject, round%clients)
				if subject != "mutex" {
					all = withoutDeaths(all)
				}
				if result := porcupine.CheckOperationsTimeout(model, all, time.Minute); result != porcupine.Ok {
					t.Fatalf("round %d: %v: no order explains %s", round, result, text(model, all))
				}
				total += len(all)
				slices.SortFunc(all, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
				latest := int64(0)
				for _, op := range all {
					if op.Call < latest {
						overlap++
					}
					if op.Input.(input).unknown {
						cut++
					} else if op.Return < math.MaxInt64 {
						latest = max(latest, op.Return)
					}
				}
			}
			t.Logf("%d operations, %d during others, %d cut off by a kill", total, overlap, cut)
			if overlap == 0 {
				t.Error("nothing happened at once")
			}
		})
	}
}

func withoutDeaths(all []porcupine.Operation) (rest []porcupine.Operation) {
	for _, op := range all {
		if op.Input.(input).kind != die {
			rest = append(rest, op)
		}
	}
	return rest
}

func text(model porcupine.Model, all []porcupine.Operation) (s string) {
	for _, op := range all {
		s += fmt.Sprintf("\n%d: %d to %d: %s", op.ClientId, op.Call, op.Return, model.DescribeOperation(op.Input, op.Output))
	}
	return s
}

// TestImpossibleHistories: what must not happen is found.
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
		"a torn load":                 {numberModel, []porcupine.Operation{op(0, store, 7, 1, 0, 4), op(1, load, 0, 2, math.MinInt64, 3)}, false},
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
