package history_test

import (
	"context"
	"math/rand/v2"
	"strconv"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"example.org/shm/test/agent"
	"golang.org/x/sys/unix"
)

// A client writes a log of its operations in shared memory, which outlives it:
// what it is about to do, and then the result.
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
)

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
		return torn
	}
	return b.A[0]
}

// board is the values of one round.
type board struct {
	Run    shm.Atomic[uint32]
	Ready  shm.Atomic[uint32]
	Value  shm.Value[int64]
	Struct shm.Struct[block]
	Mutex  *shm.Mutex
	Count  shm.Counter[int64]
	Ring   shm.Ring[block] `shm:",len=4"`
	Log0   shm.RawArray[int64]
	Log1   shm.RawArray[int64]
	Log2   shm.RawArray[int64]
	Log3   shm.RawArray[int64]

	reader *shm.RingReader[block] // this process's
	read   int64                  // how many values it has had
}

func (b *board) log(client int) []int64 {
	return []shm.RawArray[int64]{b.Log0, b.Log1, b.Log2, b.Log3}[client].Slice()
}

// subjects has, for each subject, the function that does an operation to it.
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
	"counter": func(b *board, kind, arg int64) int64 {
		if kind == load {
			return b.Count.Load()
		}
		b.Count.Add(arg)
		return 0
	},
	"ring": func(b *board, kind, arg int64) int64 {
		if kind != load {
			return int64(b.Ring.Append(blockOf(arg)))
		}
		next := b.read + int64(b.reader.Missed()) + 1
		if _, newest, _ := b.Ring.Last(); int64(newest) < next {
			return -next
		}
		x, seq, err := b.reader.Next(context.Background())
		b.read++
		if err != nil || int64(seq) != b.read+int64(b.reader.Missed()) {
			return torn
		}
		return pair(int64(seq), x.number())
	},
}

// pair is the result of a reader that gets value n as number seq.
func pair(seq, n int64) int64 {
	if n < 0 {
		return torn
	}
	return seq<<32 | n
}

// client does operations and logs them. Its arguments are the segment, the
// subject and its number.
var client = shmtest.Helper("client", func(args []string) error {
	number, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	s, err := shm.Open(args[0], agent.Modest)
	if err != nil {
		return err
	}
	var b board
	if err := shm.Bind(s, &b); err != nil {
		return err
	}
	b.reader = b.Ring.From(1)
	log, do := b.log(number), subjects[args[1]]
	b.Ready.Add(1)
	for b.Run.Load() == 0 {
	}
	for i := range operations {
		kind, arg := int64(lock+i%2), int64(0)
		if args[1] != "mutex" {
			// There are few different numbers: otherwise no CompareAndSwap succeeds.
			kind, arg = int64(rand.IntN(compareAndSwap)+1), int64(rand.IntN(10))
			if kind == compareAndSwap {
				arg += 1000 * int64(rand.IntN(10))
			}
		}
		if args[1] == "ring" {
			arg = int64(number*operations + i + 1) // no other has it
		}
		entry := log[i*fields : (i+1)*fields]
		entry[argField], entry[callField] = arg, sys.Monotonic()
		entry[kindField] = kind
		perhapsYield()
		entry[resultField] = do(&b, kind, arg)
		perhapsYield()
		entry[returnField] = sys.Monotonic()
	}
	return nil
})

// perhapsYield lets others run in the middle of an operation, or be killed there.
func perhapsYield() {
	if rand.IntN(4) == 0 {
		_, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) // It never fails.
	}
}
