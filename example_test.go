package shm_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"example.org/shm"
)

// must keeps the examples short.
func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}

// exampleName returns a segment name of this run alone, so that two runs of the
// tests do not meet. A program uses a name that its peers know, such as "board".
func exampleName(what string) string {
	return fmt.Sprintf("shmtest-%d-%s", os.Getpid(), what)
}

func Example() {
	seg := must(shm.Open(exampleName("board"), nil)) // each process opens the same name
	defer shm.Remove(seg.Name())
	defer seg.Close()

	var board struct {
		Requests shm.Atomic[uint64]  `shm:"requests,unit=requests"`
		Load     shm.Value[float64]  `shm:"load"`
		Version  shm.String          `shm:"version,len=32"`
		Sizes    shm.RawArray[int32] `shm:"sizes,len=3"`
	}
	if err := shm.Bind(seg, &board); err != nil {
		panic(err)
	}
	board.Requests.Add(1)
	board.Load.Update(func(x float64) float64 { return 0.9*x + 0.1*5 })
	if err := board.Version.Store("v1.2"); err != nil {
		panic(err)
	}
	board.Sizes.Set(2, 7)
	fmt.Println(board.Requests.Load(), board.Load.Load(), board.Version.Load(), board.Sizes.Slice())
	// Output: 1 0.5 v1.2 [0 0 7]
}

func ExampleOpen() {
	name := exampleName("counter")
	defer shm.Remove(name)
	first := must(shm.Open(name, nil)) // makes it
	defer first.Close()
	second := must(shm.Open(name, &shm.Options{MustExist: true})) // another process, say
	defer second.Close()

	hits := must(shm.NewValue[int64](first, "hits", 0))
	same := must(shm.NewValue[int64](second, "hits", 100)) // it is there: 100 is ignored
	hits.Add(2)
	fmt.Println(same.Load())

	_, err := shm.Open(name, &shm.Options{Exclusive: true})
	fmt.Println(errors.Is(err, fs.ErrExist))
	// Output:
	// 2
	// true
}

func ExampleRemove() {
	name := exampleName("removed")
	seg := must(shm.Open(name, nil))
	defer seg.Close()
	hits := must(shm.NewAtomic[int64](seg, "hits", 0))

	fmt.Println(shm.Remove(name))
	fmt.Println(hits.Add(1)) // processes that are attached keep the memory
	_, err := shm.Open(name, &shm.Options{MustExist: true})
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	// Output:
	// <nil>
	// 1
	// true
}

func ExamplePath() {
	fmt.Println(shm.Path("board"))
	fmt.Println(shm.Path("/var/lib/app/board"))
	// Output:
	// /dev/shm/board
	// /var/lib/app/board
}

func ExampleOptions() {
	name := exampleName("group")
	defer shm.Remove(name)
	seg := must(shm.Open(name, &shm.Options{
		Mode:    0o660, // the group may attach; its members must ask for 0660 too
		MaxSize: 1 << 20,
	}))
	defer seg.Close()
	look := must(shm.Open(name, &shm.Options{Mode: 0o660, ReadOnly: true}))
	defer look.Close()

	must(shm.NewValue[int32](seg, "n", 5))
	n := must(shm.NewValue[int32](look, "n", 0))
	fmt.Println(n.Load())
	defer func() { fmt.Println(errors.Is(recover().(error), shm.ErrReadOnly)) }()
	n.Store(6)
	// Output:
	// 5
	// true
}

func ExampleAnonymous() {
	seg := must(shm.Anonymous(nil)) // a child attaches by Pass, or by its descriptor
	defer seg.Close()
	again := must(shm.OpenFile(seg.File(), nil))
	defer again.Close()

	must(shm.NewRawValue[int64](seg, "answer", 42))
	fmt.Println(must(shm.NewRawValue[int64](again, "answer", 0)).Get())
	// Output: 42
}

func ExampleSegment_Pass() {
	if os.Getenv("EXAMPLE_ROLE") == "child" {
		seg := must(shm.Inherited("", nil)) // an anonymous segment's name
		must(shm.NewAtomic[int64](seg, "total", 0)).Add(42)
		os.Exit(0)
	}
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	total := must(shm.NewAtomic[int64](seg, "total", 0))

	child := exec.Command(must(os.Executable()), "-test.run=^ExampleSegment_Pass$")
	child.Env = append(os.Environ(), "EXAMPLE_ROLE=child")
	child.Stderr = os.Stderr
	seg.Pass(child) // last
	if err := child.Run(); err != nil {
		panic(err)
	}
	fmt.Println(total.Load())
	// Output: 42
}

func ExampleRawValue() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	temperature := must(shm.NewRawValue(seg, "temperature", 20.5)) // one process writes,
	fmt.Println(temperature.Get())                                 // others look
	*temperature.Ptr() += 0.5
	fmt.Println(temperature.Get())

	elapsed := must(shm.NewRawValue[time.Duration](seg, "elapsed", 0)) // named types are numbers
	elapsed.Set(1500 * time.Millisecond)
	fmt.Println(elapsed.Get())
	// Output:
	// 20.5
	// 21
	// 1.5s
}

func ExampleRawArray() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	made := must(shm.NewRawArray[int16](seg, "samples", 4))
	copy(made.Slice(), []int16{3, 1, 4, 1})
	found := must(shm.NewRawArray[int16](seg, "samples", 0)) // 0: the length found
	sum := 0
	for _, x := range found.All() {
		sum += int(x)
	}
	fmt.Println(found.Len(), sum)
	// Output: 4 9
}

func ExampleRawStruct() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	type point struct{ X, Y int32 }
	p := must(shm.NewRawStruct(seg, "p", point{1, 2}))
	p.Ptr().X = 10
	fmt.Println(p.Get())

	id := must(shm.NewRawStruct(seg, "id", [16]byte{0: 0xca, 15: 0xfe})) // a UUID
	fmt.Printf("%x\n", id.Get())
	// Output:
	// {10 2}
	// ca0000000000000000000000000000fe
}

func ExampleCharArray() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	c := must(shm.NewCharArray(seg, "name", 8))
	for _, text := range []string{"abcdef", "xy", "too long for it"} {
		if err := c.SetValue(text); err != nil {
			fmt.Println(errors.Is(err, shm.ErrTooLong))
		}
		fmt.Printf("%q %q\n", c.Value(), c.Raw()) // as ctypes does: a NUL, and the tail stays
	}
	// Output:
	// "abcdef" "abcdef\x00\x00"
	// "xy" "xy\x00def\x00\x00"
	// true
	// "xy" "xy\x00def\x00\x00"
}

func ExampleValue() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	balance := must(shm.NewValue(seg, "balance", 100.0))
	fmt.Println(balance.Add(20))
	fmt.Println(balance.Update(func(x float64) float64 { return x * 2 }))
	fmt.Println(balance.CompareAndSwap(240, 1), balance.Swap(7), balance.Load())
	// Output:
	// 120
	// 240
	// true 1 7
}

func ExampleValue_Await() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	phase := must(shm.NewValue[int32](seg, "phase", 0))
	go func() { // another process, say
		phase.Store(1)
		phase.Store(2)
	}()
	x, err := phase.Await(context.Background(), func(x int32) bool { return x >= 2 })
	fmt.Println(x, err)
	// Output: 2 <nil>
}

func ExampleSynchronized() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	lock := must(shm.NewMutex(seg, "lock"))
	in := shm.Synchronized(must(shm.NewRawValue[int64](seg, "in", 0)), lock)
	out := shm.Synchronized(must(shm.NewRawValue[int64](seg, "out", 0)), lock)
	in.Add(3) // one lock for both

	lock.Lock()
	out.Raw().Set(in.Raw().Get()) // while holding it, the raw forms
	lock.Unlock()
	fmt.Println(in.Load(), out.Load(), in.Mutex() == out.Mutex())
	// Output: 3 3 true
}

func ExampleArray() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	a := must(shm.NewArray[int64](seg, "histogram", 4))
	a.Add(1, 5)
	a.WithLock(func(all []int64) {
		all[0], all[1] = all[1], all[0] // only a Load may see one change without the other
	})
	fmt.Println(a.Load(0), a.Load(1), a.Len())
	// Output: 5 0 4
}

func ExampleStruct() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	type stats struct {
		Count int64
		Sum   float64
	}
	s := must(shm.NewStruct(seg, "stats", stats{}))
	for _, x := range []float64{1, 2.5} {
		s.Update(func(s *stats) { s.Count++; s.Sum += x }) // both, or neither
	}
	fmt.Println(s.Load())

	// A newer program appends a field; the older one goes on.
	type newer struct {
		Count int64
		Sum   float64
		Max   float64
	}
	n := must(shm.NewStruct(seg, "stats", newer{}))
	n.Update(func(s *newer) { s.Max = 9 })
	s.Update(func(s *stats) { s.Count++ })
	fmt.Println(n.Load())
	// Output:
	// {2 3.5}
	// {3 3.5 9}
}

func ExampleString() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	status := must(shm.NewString(seg, "status", 16))
	fmt.Println(status.Store("draining"))
	err := status.Store("a text of more than 16 bytes")
	fmt.Println(errors.Is(err, shm.ErrTooLong), status.Load(), status.Cap())
	// Output:
	// <nil>
	// true draining 16
}

func ExampleAtomic() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	hits := must(shm.NewAtomic[uint64](seg, "hits", 0))
	flags := must(shm.NewAtomic[uint32](seg, "flags", 0b0101))
	fmt.Println(hits.Add(1), flags.Or(0b0010), flags.And(0b0011), flags.Load())
	// Output: 1 5 7 3
}

func ExampleCounter() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	requests := must(shm.NewCounter[uint64](seg, "requests"))
	requests.Add(1) // in each worker
	requests.Add(2)
	fmt.Println(requests.Load()) // of all workers, dead ones too
	// Output: 3
}

func ExampleGauge() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	open := must(shm.NewGauge[int64](seg, "open connections"))
	open.Add(1)
	open.Add(1)
	open.Add(-1)
	most, _ := open.Max()
	fmt.Println(open.Load(), most) // of the workers that live
	// Output: 1 1
}

func ExampleHistogram() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	took := must(shm.NewHistogram(seg, "took", []float64{0.1, 0.5, 1}))
	for _, seconds := range []float64{0.02, 0.1, 0.7, 30} {
		took.Observe(seconds)
	}
	fmt.Println(took.Load().Counts)
	// Output: [2 0 1 1]
}

func ExampleMutex() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	mu := must(shm.NewMutex(seg, "lock"))
	ledger := must(shm.NewRawArray[int64](seg, "ledger", 2))

	mu.Lock()
	if mu.Abandoned() { // whoever held it died in the middle
		clear(ledger.Slice())
	}
	ledger.Set(0, -5)
	ledger.Set(1, +5)
	mu.Unlock()

	fmt.Println(mu.TryLock(), mu.TryLock()) // not recursive
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	fmt.Println(errors.Is(mu.LockContext(ctx), context.DeadlineExceeded))
	mu.Unlock()
	// Output:
	// true false
	// true
}

// Places of workers: the place of one that dies goes to the next that asks.
func ExampleMutexes_LockAny() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	places := must(shm.NewMutexes(seg, "places", 4))

	first := must(places.LockAny(context.Background()))
	second := must(places.LockAny(context.Background()))
	if places.At(second).Abandoned() { // whoever had it died
		fmt.Println("its work has to be put in order")
	}
	places.At(first).Unlock()
	third := must(places.LockAny(context.Background()))
	fmt.Println(first, second, third)
	owner, held := places.Owner(second)
	fmt.Println(held, owner.Alive(), owner.Pid == os.Getpid())
	// Output:
	// 0 1 0
	// true true true
}

// Rows are Structs: each changes as a whole, and readers do not wait.
func ExampleTable() {
	type score struct {
		Games int32
		Best  float64
	}
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	scores := must(shm.NewTable[score](seg, "scores", 1000))

	scores.Row(7).Update(func(s *score) { s.Games, s.Best = s.Games+1, 9.5 })
	for i, s := range scores.All() {
		if s.Games > 0 {
			fmt.Println(i, s)
		}
	}
	// Output:
	// 7 {1 9.5}
}

// Each process has an element of its own.
func ExampleAtomicArray() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	progress := must(shm.NewAtomicArray[uint64](seg, "progress", 8))
	progress.At(3).Add(5)
	fmt.Println(progress.Len(), progress.At(3).Load())
	// Output:
	// 8 5
}

// Who is there, by lease and not by pid.
func ExampleSegment_Processes() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	must(shm.NewMutex(seg, "lock")) // a process is found once it has a value with a lock
	for p := range seg.Processes() {
		fmt.Println(p.ID, p.Pid == os.Getpid(), p.Alive())
	}
	// Output:
	// 1 true true
}

func ExampleBind() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	type config struct {
		Limit int32
		Debug bool
	}
	var board struct {
		Requests shm.Atomic[uint64] `shm:"requests,unit=requests"`
		Load     shm.Value[float64] `shm:"load,help=of the last minute, 1 is a core"`
		Version  shm.String         `shm:"version,len=32"`
		Config   shm.Struct[config] // named as the field is
		Samples  shm.Array[int32]   `shm:"samples,len=4"`
		Lock     *shm.Mutex         `shm:"lock"`
		started  time.Time          // unexported: left alone
	}
	if err := shm.Bind(seg, &board); err != nil {
		panic(err)
	}
	board.Requests.Add(1)
	board.Config.Update(func(c *config) { c.Limit = 10 })
	fmt.Println(board.Requests.Load(), board.Config.Load())

	board.started = time.Now()
	for e := range seg.Entries() {
		fmt.Printf("%s: %q %q\n", e.Name, e.Unit, e.Help)
	}
	// Output:
	// 1 {10 false}
	// requests: "requests" ""
	// load: "" "of the last minute, 1 is a core"
	// version: "" ""
	// Config: "" ""
	// samples: "" ""
	// lock: "" ""
}

func ExampleTypeError() {
	type inner struct{ Next *int32 }
	type outer struct {
		ID    int64
		Items [4]inner
	}
	_, err := shm.LayoutOf[outer]()
	fmt.Println(err)
	e, _ := errors.AsType[*shm.TypeError](err)
	fmt.Println(e.Field)
	// Output:
	// shm: shm_test.outer.Items[].Next: *int32 points into the memory of one process; use the value itself, or its index in an array
	// Items[].Next
}

func ExampleRawValueAt() {
	// Memory that another program laid out: a C struct { int id; double x; }.
	dir := must(os.MkdirTemp("", "shm-example"))
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "foreign")
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		panic(err)
	}
	seg := must(shm.Open(path, &shm.Options{Foreign: true}))
	defer seg.Close()
	x := must(shm.RawValueAt[float64](seg, 8))
	x.Set(0.25)
	fmt.Println(x.Get())
	_, err := shm.RawValueAt[float64](seg, 4095)
	fmt.Println(errors.Is(err, fs.ErrInvalid))
	// Output:
	// 0.25
	// true
}

func ExampleValue_UpdateContext() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	stock := must(shm.NewValue(seg, "stock", int64(5)))
	errSoldOut := errors.New("sold out")
	take := func(n int64) error {
		// A process that is stopped while it holds the lock keeps nobody longer.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := stock.UpdateContext(ctx, func(x int64) (int64, error) {
			if x < n {
				return 0, errSoldOut
			}
			return x - n, nil
		})
		return err
	}
	fmt.Println(take(3), stock.Load())
	fmt.Println(take(3), stock.Load())
	// Output:
	// <nil> 2
	// sold out 2
}

func ExampleValue_StoreContext() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	limit := must(shm.NewValue(seg, "limit", int64(1)))
	limit.Mutex().Lock() // as a process does that is stopped now
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	fmt.Println(errors.Is(limit.StoreContext(ctx, 2), context.DeadlineExceeded), limit.Load())
	// Output: true 1
}

func ExampleValue_Changes() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	phase := must(shm.NewValue(seg, "phase", int32(1)))
	for n, x := range phase.Changes(context.Background()) {
		fmt.Println(n, x)
		if x == 3 {
			break
		}
		go phase.Add(1) // as another process does
	}
	// Output:
	// 1 1
	// 2 2
	// 3 3
}

func ExampleStruct_UpdateContext() {
	type account struct{ From, To int64 }
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	v := must(shm.NewStruct(seg, "account", account{From: 5}))
	err := v.UpdateContext(context.Background(), func(a *account) error {
		a.To += 10
		if a.From -= 10; a.From < 0 {
			return errors.New("not enough")
		}
		return nil
	})
	fmt.Println(err, v.Load())
	// Output: not enough {5 0}
}

func ExampleStruct_Changes() {
	type settings struct{ Limit, Burst int64 }
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	shared := must(shm.NewStruct(seg, "settings", settings{Limit: 1}))
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	for number, s := range shared.Changes(ctx) {
		fmt.Println(number, s.Limit)
		shared.Update(func(s *settings) { s.Limit = 7 }) // the second time it is no change
	}
	// Output:
	// 0 1
	// 1 7
}

func ExampleString_Changes() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	status := must(shm.NewString(seg, "status", 32))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for number, text := range status.Changes(ctx) {
		fmt.Printf("%d %q\n", number, text)
		if text == "ready" {
			break
		}
		must(0, status.StoreContext(ctx, "ready"))
	}
	// Output:
	// 0 ""
	// 1 "ready"
}

func ExampleArray_WithLockContext() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	slots := must(shm.NewArray[int64](seg, "slots", 3))
	take := func() error {
		return slots.WithLockContext(context.Background(), func(owner []int64) error {
			i := slices.Index(owner, 0)
			if i < 0 {
				return errors.New("all slots are taken")
			}
			owner[i] = 12
			return nil
		})
	}
	for range 4 {
		fmt.Println(take())
	}
	// Output:
	// <nil>
	// <nil>
	// <nil>
	// all slots are taken
}

func ExampleRing() {
	s, err := shm.Anonymous(nil)
	if err != nil {
		panic(err)
	}
	defer s.Close()
	type event struct{ Job, Done int32 }
	events, err := shm.NewRing[event](s, "events", 2) // keeps the last two
	if err != nil {
		panic(err)
	}
	reader := events.Reader()
	for i := range int32(3) {
		events.Append(event{Job: 7, Done: i + 1})
	}
	for range 2 {
		e, seq, err := reader.Next(context.Background())
		if err != nil {
			panic(err)
		}
		fmt.Println(seq, e)
	}
	fmt.Println("missed", reader.Missed())
	// Output:
	// 2 {7 2}
	// 3 {7 3}
	// missed 1
}

func ExampleSnapshot() {
	s, err := shm.Anonymous(nil)
	if err != nil {
		panic(err)
	}
	defer s.Close()
	type account struct{ Cents int64 }
	a, errA := shm.NewStruct(s, "a", account{300})
	b, errB := shm.NewStruct(s, "b", account{700})
	if err := errors.Join(errA, errB); err != nil {
		panic(err)
	}
	var from, to account
	if err := shm.Snapshot(func() { from, to = a.Load(), b.Load() }, a, b); err != nil {
		panic(err)
	}
	fmt.Println(from.Cents + to.Cents)
	// Output: 1000
}
