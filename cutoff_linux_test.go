package shm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// cutOff is a segment of which the file was cut off, with a handle of each kind.
type cutOff struct {
	s     *shm.Segment
	ctx   context.Context
	raw   shm.RawValue[int64]
	raws  shm.RawArray[int64]
	data  shm.RawStruct[padded]
	chars shm.CharArray
	count shm.Atomic[int64]
	n     shm.Value[int64]
	all   shm.Array[int64]
	p     shm.Struct[padded]
	text  shm.String
	mu    *shm.Mutex
	held  *shm.Mutex
	words shm.AtomicArray[int64]
	locks shm.Mutexes
	rows  shm.Table[padded]
	total shm.Counter[int64]
	now   shm.Gauge[int64]
	times shm.Histogram
	ring  shm.Ring[padded]
	next  *shm.RingReader[padded]
	other shm.Process
	entry map[string]shm.Entry
}

// cutOffCalls has a call of each exported method that is given a segment.
var cutOffCalls = map[string]func(c *cutOff){
	"RawValue.Get": func(c *cutOff) { sink = c.raw.Get() },
	"RawValue.Set": func(c *cutOff) { c.raw.Set(1) },
	"RawValue.Ptr": func(c *cutOff) { c.raw.Ptr() },

	"RawArray.Len":   func(c *cutOff) { c.raws.Len() },
	"RawArray.Get":   func(c *cutOff) { sink = c.raws.Get(1) },
	"RawArray.Set":   func(c *cutOff) { c.raws.Set(1, 1) },
	"RawArray.Slice": func(c *cutOff) { c.raws.Slice() },
	"RawArray.All": func(c *cutOff) {
		for _, x := range c.raws.All() {
			sink += x
		}
	},

	"RawStruct.Get": func(c *cutOff) { sink = c.data.Get().B },
	"RawStruct.Set": func(c *cutOff) { c.data.Set(padded{}) },
	"RawStruct.Ptr": func(c *cutOff) { c.data.Ptr() },

	"CharArray.Len":      func(c *cutOff) { c.chars.Len() },
	"CharArray.Value":    func(c *cutOff) { c.chars.Value() },
	"CharArray.SetValue": func(c *cutOff) { fails(c.chars.SetValue("x")) },
	"CharArray.Raw":      func(c *cutOff) { c.chars.Raw() },
	"CharArray.SetRaw":   func(c *cutOff) { fails(c.chars.SetRaw([]byte("x"))) },
	"CharArray.Bytes":    func(c *cutOff) { c.chars.Bytes() },

	"Atomic.Load":           func(c *cutOff) { sink = c.count.Load() },
	"Atomic.Store":          func(c *cutOff) { c.count.Store(1) },
	"Atomic.Swap":           func(c *cutOff) { c.count.Swap(1) },
	"Atomic.CompareAndSwap": func(c *cutOff) { c.count.CompareAndSwap(0, 1) },
	"Atomic.Add":            func(c *cutOff) { c.count.Add(1) },
	"Atomic.And":            func(c *cutOff) { c.count.And(1) },
	"Atomic.Or":             func(c *cutOff) { c.count.Or(1) },

	"Value.Load":           func(c *cutOff) { sink = c.n.Load() },
	"Value.Store":          func(c *cutOff) { c.n.Store(1) },
	"Value.Swap":           func(c *cutOff) { c.n.Swap(1) },
	"Value.CompareAndSwap": func(c *cutOff) { c.n.CompareAndSwap(0, 1) },
	"Value.Add":            func(c *cutOff) { c.n.Add(1) },
	"Value.Update":         func(c *cutOff) { c.n.Update(func(x int64) int64 { return x + 1 }) },
	"Value.UpdateContext": func(c *cutOff) {
		fails(shmtest.Error(c.n.UpdateContext(c.ctx, func(x int64) (int64, error) { return x + 1, nil })))
	},
	"Value.StoreContext": func(c *cutOff) { fails(c.n.StoreContext(c.ctx, 1)) },
	"Value.Await": func(c *cutOff) {
		fails(shmtest.Error(c.n.Await(c.ctx, func(int64) bool { return false })))
	},
	"Value.Changes": func(c *cutOff) {
		for range c.n.Changes(c.ctx) {
		}
	},
	"Value.Mutex": func(c *cutOff) { c.n.Mutex() },
	"Value.Raw":   func(c *cutOff) { c.n.Raw() },

	"Array.Len":   func(c *cutOff) { c.all.Len() },
	"Array.Load":  func(c *cutOff) { sink = c.all.Load(1) },
	"Array.Store": func(c *cutOff) { c.all.Store(1, 1) },
	"Array.Add":   func(c *cutOff) { c.all.Add(1, 1) },
	"Array.WithLock": func(c *cutOff) {
		c.all.WithLock(func([]int64) {})
	},
	"Array.WithLockContext": func(c *cutOff) {
		fails(c.all.WithLockContext(c.ctx, func([]int64) error { return nil }))
	},
	"Array.Mutex": func(c *cutOff) { c.all.Mutex() },
	"Array.Raw":   func(c *cutOff) { c.all.Raw() },

	"Struct.Load":          func(c *cutOff) { sink = c.p.Load().B },
	"Struct.Store":         func(c *cutOff) { c.p.Store(padded{}) },
	"Struct.Update":        func(c *cutOff) { c.p.Update(func(*padded) {}) },
	"Struct.UpdateContext": func(c *cutOff) { fails(c.p.UpdateContext(c.ctx, func(*padded) error { return nil })) },
	"Struct.StoreContext":  func(c *cutOff) { fails(c.p.StoreContext(c.ctx, padded{})) },
	"Struct.Await": func(c *cutOff) {
		fails(shmtest.Error(c.p.Await(c.ctx, func(padded) bool { return false })))
	},
	"Struct.Changes": func(c *cutOff) {
		for range c.p.Changes(c.ctx) {
		}
	},
	"Struct.Mutex": func(c *cutOff) { c.p.Mutex() },
	"Struct.LoadTo": func(c *cutOff) {
		var x padded
		c.p.LoadTo(&x)
		sink = x.B
	},
	"Struct.StoreFrom": func(c *cutOff) { c.p.StoreFrom(&padded{}) },

	"AtomicArray.Len": func(c *cutOff) { c.words.Len() },
	"AtomicArray.At":  func(c *cutOff) { c.words.At(1) },

	"Mutexes.Len":     func(c *cutOff) { c.locks.Len() },
	"Mutexes.At":      func(c *cutOff) { c.locks.At(1) },
	"Mutexes.LockAny": func(c *cutOff) { fails(shmtest.Error(c.locks.LockAny(c.ctx))) },
	"Mutexes.Owner":   func(c *cutOff) { c.locks.Owner(1) },

	"Table.Len": func(c *cutOff) { c.rows.Len() },
	"Table.Row": func(c *cutOff) { c.rows.Row(1) },
	"Table.All": func(c *cutOff) {
		for _, x := range c.rows.All() {
			sink += x.B
		}
	},

	"Counter.Add":  func(c *cutOff) { c.total.Add(1) },
	"Counter.Load": func(c *cutOff) { sink = c.total.Load() },

	"Gauge.Set":  func(c *cutOff) { c.now.Set(1) },
	"Gauge.Add":  func(c *cutOff) { c.now.Add(1) },
	"Gauge.Load": func(c *cutOff) { sink = c.now.Load() },
	"Gauge.Min":  func(c *cutOff) { sink, _ = c.now.Min() },
	"Gauge.Max":  func(c *cutOff) { sink, _ = c.now.Max() },
	"Gauge.All": func(c *cutOff) {
		for _, x := range c.now.All() {
			sink += x
		}
	},

	"Histogram.Observe": func(c *cutOff) { c.times.Observe(1) },
	"Histogram.Load":    func(c *cutOff) { c.times.Load() },

	"Ring.Len":    func(c *cutOff) { c.ring.Len() },
	"Ring.Append": func(c *cutOff) { c.ring.Append(padded{}) },
	"Ring.Last":   func(c *cutOff) { c.ring.Last() },
	"Ring.Reader": func(c *cutOff) { c.ring.Reader() },
	"Ring.From":   func(c *cutOff) { c.ring.From(0) },
	"RingReader.Next": func(c *cutOff) {
		_, _, err := c.next.Next(c.ctx)
		fails(err)
	},
	"RingReader.From":   func(c *cutOff) { c.next.From(0) },
	"RingReader.Missed": func(c *cutOff) { c.next.Missed() },

	"Process.Alive": func(c *cutOff) { c.other.Alive() },

	"String.Cap":          func(c *cutOff) { c.text.Cap() },
	"String.Load":         func(c *cutOff) { c.text.Load() },
	"String.Store":        func(c *cutOff) { fails(c.text.Store("x")) },
	"String.StoreContext": func(c *cutOff) { fails(c.text.StoreContext(c.ctx, "x")) },
	"String.Await": func(c *cutOff) {
		fails(shmtest.Error(c.text.Await(c.ctx, func(string) bool { return false })))
	},
	"String.Changes": func(c *cutOff) {
		for range c.text.Changes(c.ctx) {
		}
	},
	"String.Mutex": func(c *cutOff) { c.text.Mutex() },

	"Mutex.Lock":        func(c *cutOff) { c.mu.Lock() },
	"Mutex.LockContext": func(c *cutOff) { fails(c.mu.LockContext(c.ctx)) },
	"Mutex.TryLock":     func(c *cutOff) { c.mu.TryLock() },
	"Mutex.Unlock":      func(c *cutOff) { c.held.Unlock() },
	"Mutex.Abandoned":   func(c *cutOff) { c.held.Abandoned() },

	"Entry.Any": func(c *cutOff) {
		for name, e := range c.entry {
			if err, ok := e.Any().(error); name != "mu" && name != "held" && name != "locks" && (!ok || !errors.Is(err, shm.ErrFormat)) {
				panic(fmt.Sprintf("%s: %v", name, e.Any()))
			}
		}
	},
	"Entry.Text": func(c *cutOff) {
		for name, e := range c.entry {
			if text := e.Text(); name != "mu" && name != "held" && name != "locks" && !strings.HasPrefix(text, "<shm: ") {
				panic(text)
			}
		}
	},
	"Entry.Lock": func(c *cutOff) {
		for _, e := range c.entry {
			e.Lock()
		}
	},
	"Entry.Locks": func(c *cutOff) {
		for _, e := range c.entry {
			for range e.Locks() {
			}
		}
	},
	"Entry.Type": func(c *cutOff) { _ = c.entry["n"].Type() },
	"Entry.UpdateContext": func(c *cutOff) {
		fails(c.entry["n"].UpdateContext(c.ctx, func(any) (string, error) { return "1", nil }))
	},
	"Entry.Await": func(c *cutOff) {
		fails(c.entry["n"].Await(c.ctx, func(any) bool { return false }))
	},
	"Entry.Parts":       func(c *cutOff) { _ = c.entry["n"].Parts() },
	"Entry.Description": func(c *cutOff) { _, _ = c.entry["n"].Description() },
	"Entry.Bytes": func(c *cutOff) {
		for _, e := range c.entry {
			if e.Layout.Format != "" {
				_, _, err := e.Bytes(0)
				fails(err)
			}
		}
	},
	"Entry.SetBytes": func(c *cutOff) { fails(c.entry["n"].SetBytes(c.ctx, 0, make([]byte, 8))) },
	"Entry.Since": func(c *cutOff) {
		for range c.entry["ring"].Since(0) {
			panic("a value")
		}
	},
	"Entry.Parse": func(c *cutOff) { fails(c.entry["n"].Parse("1")); fails(c.entry["p"].Parse("{A: 1}")) },

	"Segment.Name":     func(c *cutOff) { c.s.Name() },
	"Segment.File":     func(c *cutOff) { c.s.File() },
	"Segment.Size":     func(c *cutOff) { c.s.Size() },
	"Segment.Sync":     func(c *cutOff) { fails(c.s.Sync()) },
	"Segment.Replaced": func(c *cutOff) { _, _ = c.s.Replaced() },
	"Segment.Make": func(c *cutOff) {
		fails(shmtest.Error(c.s.Make(shm.Description{Name: "new", Type: "RawValue", Layout: c.entry["n"].Layout.Format})))
	},
	"Segment.Lookup": func(c *cutOff) { c.s.Lookup("n") },
	"Segment.Entries": func(c *cutOff) {
		for range c.s.Entries() {
		}
	},
	"Segment.Check":  func(c *cutOff) { fails(c.s.Check()) },
	"Segment.Leased": func(c *cutOff) { _, _ = c.s.Leased() },
	"Segment.Processes": func(c *cutOff) {
		for range c.s.Processes() {
		}
	},
	"Segment.AwaitExit": func(c *cutOff) {
		ctx, cancel := context.WithTimeout(c.ctx, 50*time.Millisecond) // the lease is there, whatever the file has
		defer cancel()
		_ = c.s.AwaitExit(ctx, c.other)
	},
	"Segment.WaitFor": func(c *cutOff) { fails(shmtest.Error(c.s.WaitFor(c.ctx, "never"))) },
	"Segment.Pass":    func(c *cutOff) { c.s.Pass(exec.Command("true")) },
	"Segment.Close":   func(c *cutOff) { _ = c.s.Close() },
}

// sink keeps the compiler from dropping a load.
var sink int64

// fails panics if a call has succeeded without memory.
func fails(err error) {
	if !errors.Is(err, shm.ErrFormat) {
		panic(fmt.Sprintf("the error is %v", err))
	}
}

// cutOffVictim makes one of the calls in a segment whose file it has cut off.
var cutOffVictim = shmtest.Helper("cutOffVictim", func(args []string) error {
	t := shmtest.InHelper
	c := &cutOff{s: shmtest.Must(shm.Open(args[0], nil))(t), entry: map[string]shm.Entry{}}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c.ctx = ctx
	c.raw = shmtest.Must(shm.NewRawValue(c.s, "raw", int64(0)))(t)
	c.raws = shmtest.Must(shm.NewRawArray[int64](c.s, "raws", 4))(t)
	c.data = shmtest.Must(shm.NewRawStruct(c.s, "data", padded{}))(t)
	c.chars = shmtest.Must(shm.NewCharArray(c.s, "chars", 8))(t)
	c.count = shmtest.Must(shm.NewAtomic(c.s, "count", int64(0)))(t)
	c.n = shmtest.Must(shm.NewValue(c.s, "n", int64(0)))(t)
	c.all = shmtest.Must(shm.NewArray[int64](c.s, "all", 4))(t)
	c.p = shmtest.Must(shm.NewStruct(c.s, "p", padded{}))(t)
	c.text = shmtest.Must(shm.NewString(c.s, "text", 8))(t)
	c.mu = shmtest.Must(shm.NewMutex(c.s, "mu"))(t)
	c.held = shmtest.Must(shm.NewMutex(c.s, "held"))(t)
	c.held.Lock()
	c.words = shmtest.Must(shm.NewAtomicArray[int64](c.s, "words", 4))(t)
	c.locks = shmtest.Must(shm.NewMutexes(c.s, "locks", 4))(t)
	c.rows = shmtest.Must(shm.NewTable[padded](c.s, "rows", 4))(t)
	c.total = shmtest.Must(shm.NewCounter[int64](c.s, "total"))(t)
	c.now = shmtest.Must(shm.NewGauge[int64](c.s, "now"))(t)
	c.times = shmtest.Must(shm.NewHistogram(c.s, "times", []float64{1, 2}))(t)
	c.ring = shmtest.Must(shm.NewRing[padded](c.s, "ring", 4))(t)
	c.next = c.ring.Reader()
	for p := range c.s.Processes() {
		c.other = p
	}
	for e := range c.s.Entries() {
		c.entry[e.Name] = e
	}
	if err := os.Truncate(shm.Path(args[0]), 0); err != nil {
		return err
	}
	defer func() {
		if err, ok := recover().(error); ok && errors.Is(err, shm.ErrFormat) {
			fmt.Println("panicked")
		}
	}()
	cutOffCalls[args[1]](c)
	fmt.Println("returned")
	return nil
})

// What a file that is cut off does to each method is what docs/foreign.md says: those in its list
// end the process, and no other one does.
func TestCutOffFile(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process for each method")
	}
	t.Parallel()
	for _, v := range []any{
		shm.RawValue[int64]{}, shm.RawArray[int64]{}, shm.RawStruct[padded]{}, shm.CharArray{}, shm.Atomic[int64]{}, shm.Value[int64]{},
		shm.Array[int64]{}, shm.Struct[padded]{}, shm.String{}, (*shm.Mutex)(nil), (*shm.Segment)(nil), shm.Entry{},
		shm.AtomicArray[int64]{}, shm.Mutexes{}, shm.Table[padded]{}, shm.Counter[int64]{}, shm.Gauge[int64]{}, shm.Histogram{},
		shm.Ring[padded]{}, (*shm.RingReader[padded])(nil), shm.Process{},
	} {
		of := reflect.TypeOf(v)
		for i := range of.NumMethod() {
			name, _, _ := strings.Cut(strings.TrimLeft(of.String(), "*"), "[")
			name = strings.TrimPrefix(name, "shm.") + "." + of.Method(i).Name
			if cutOffCalls[name] == nil && name != "Struct.Slots" && name != "Entry.Shown" { // which only tests have
				t.Errorf("this test does not know %s", name)
			}
		}
	}
	fatal := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(cutOffCalls)) {
		segment := filepath.Join(t.TempDir(), "segment")
		cmd := shmtest.Must(shmtest.Command(cutOffVictim, segment, name))(t)
		out, err := cmd.CombinedOutput()
		answered := bytes.HasSuffix(out, []byte("returned\n")) || bytes.HasSuffix(out, []byte("panicked\n"))
		switch {
		case err == nil && answered:
		case err != nil && bytes.Contains(out, []byte("unexpected fault address")):
			of, method, _ := strings.Cut(name, ".")
			fatal[of] = append(fatal[of], method)
			if of == "Segment" {
				t.Logf("%s", out)
			}
		default:
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	var list strings.Builder
	for _, of := range slices.Sorted(maps.Keys(fatal)) {
		fmt.Fprintf(&list, "- `%s`: `%s`\n", of, strings.Join(fatal[of], "`, `"))
	}
	page := string(shmtest.Must(os.ReadFile("docs/foreign.md"))(t))
	_, page, _ = strings.Cut(page, "<!-- calls that fault -->\n\n")
	if page, _, _ = strings.Cut(page, "\n<!-- end -->"); page != list.String() {
		t.Errorf("docs/foreign.md must have this list:\n%s", list.String())
	}
}

// Sync does not say that values are on disk if the file has only its header left.
func TestSyncOfAFileThatWasCutOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "segment")
	s := open(t, path, nil)
	shmtest.Must(shm.NewString(s, "text", 1<<20))(t)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 64<<10); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(); !errors.Is(err, shm.ErrFormat) {
		t.Errorf("Sync: %v", err)
	}
}
