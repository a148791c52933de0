//go:build linux

package shm_test

import (
	"bufio"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"sync"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

type flags uint32

// checkAtomic compares a random program of operations with a plain variable.
func checkAtomic[T shm.AtomicInteger](t *testing.T, extremes ...T) {
	t.Helper()
	typ := reflect.TypeFor[T]().String()
	name := shmtest.Name(t)
	s := open(t, name, nil)
	a := shmtest.Must(shm.NewAtomic(s, "a", extremes[0]))(t)
	ro := shmtest.Must(shm.NewAtomic(open(t, name, &shm.Options{ReadOnly: true}), "a", T(1)))(t)
	before, after := shmtest.Must(shm.NewAtomic(s, "before", T(0)))(t), shmtest.Must(shm.NewAtomic(s, "after", T(0)))(t)
	model := extremes[0]
	for i := range 2000 {
		x := T(rand.Uint64())
		if i%3 == 0 {
			x = extremes[rand.IntN(len(extremes))]
		}
		old, got, want := model, T(0), T(0)
		op := rand.IntN(7)
		switch op {
		case 0:
			a.Store(x)
			model = x
		case 1:
			got, want, model = a.Swap(x), old, x
		case 2:
			model += x
			got, want = a.Add(x), model
		case 3:
			got, want, model = a.And(x), old, model&x
		case 4:
			got, want, model = a.Or(x), old, model|x
		case 5:
			if !a.CompareAndSwap(model, x) {
				t.Fatalf("%s: CompareAndSwap of %v failed", typ, old)
			}
			model = x
		case 6:
			if a.CompareAndSwap(model+1, x) {
				t.Fatalf("%s: CompareAndSwap of %v for %v", typ, old, old+1)
			}
		}
		if got != want || a.Load() != model || ro.Load() != model {
			t.Fatalf("%s: operation %d with %v on %v: returned %v, want %v; now %v, want %v", typ, op, x, old, got, want, a.Load(), model)
		}
	}
	if before.Load() != 0 || after.Load() != 0 {
		t.Errorf("%s: the neighbours were written", typ)
	}
}

func TestAtomicOfEachType(t *testing.T) {
	checkAtomic[int32](t, math.MinInt32, -1, 0, 1, math.MaxInt32)
	checkAtomic[uint32](t, 0, 1, math.MaxUint32)
	checkAtomic[int64](t, math.MinInt64, -1, 0, 1, math.MaxInt64)
	checkAtomic[uint64](t, 0, 1, math.MaxUint64)
	checkAtomic[flags](t, 0, 1, math.MaxUint32)
}

// atomicAdder adds 1 to an Atomic, as often as its second argument says.
var atomicAdder = shmtest.Helper("atomicAdder", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	a, err := shm.NewAtomic(s, "a", int64(0))
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	for range n {
		a.Add(1)
	}
	return nil
})

func TestAtomicAddsUp(t *testing.T) {
	const procs, goroutines, each = 4, 8, 50_000
	name := shmtest.Name(t)
	a := shmtest.Must(shm.NewAtomic(open(t, name, nil), "a", int64(0)))(t)
	var all []*shmtest.Process
	for range procs {
		p := shmtest.Start(t, atomicAdder, name, strconv.Itoa(each))
		p.Expect("ready")
		all = append(all, p)
	}
	for _, p := range all {
		p.Say("go")
	}
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range each {
				a.Add(1)
			}
		})
	}
	wg.Wait()
	for _, p := range all {
		p.Wait()
	}
	if got := a.Load(); got != (procs+goroutines)*each {
		t.Fatalf("%d additions counted %d", (procs+goroutines)*each, got)
	}
}
