//go:build killpoints

package crash_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/lease"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
	"example.org/shm/internal/robust"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/slots"
	"example.org/shm/test/agent"
)

// The values of the segment in which a process is killed. Their parts check each
// other.
type (
	pair  struct{ A, B int64 }
	trio  struct{ A, B, C int64 } // a later version of pair
	large [4096]int64             // which takes so long to copy that other threads do something meanwhile
	world struct {
		N      shm.Value[int64]   `shm:"n"`
		Orphan *shm.Mutex         `shm:"orphan"`
		Pair   shm.Struct[pair]   `shm:"pair"`
		Text   shm.String         `shm:"text,len=16"`
		Large  shm.Struct[large]  `shm:"large struct"`
		Row    shm.Array[int64]   `shm:"row,len=2"`
		Count  shm.Counter[int64] `shm:"count"`
		Gauge  shm.Gauge[int64]   `shm:"gauge"`
		Took   shm.Histogram      `shm:"took,bounds=1;2"`
		Ring   shm.Ring[pair]     `shm:"ring,len=2"`
		Places shm.Mutexes        `shm:"places,len=3"`
		Table  shm.Table[pair]    `shm:"table,len=3"`
	}
)

// orphanage makes the segment, takes two locks and keeps them until it is killed.
var orphanage = shmtest.Helper("orphanage", func(args []string) error {
	var w world
	s, err := shm.Open(args[0], agent.Modest)
	if err == nil {
		err = shm.Bind(s, &w)
	}
	if err != nil {
		return err
	}
	w.Orphan.Lock()
	w.N.Mutex().Lock()
	w.Count.Add(orphans)
	w.Gauge.Set(orphans)
	w.Took.Observe(1)
	fmt.Println("held")
	return shmtest.Replies(func([]string) (string, error) { return "held", nil })
})

// placeHolder takes the first place and keeps it until it is killed.
var placeHolder = shmtest.Helper("placeHolder", func(args []string) error {
	s, err := shm.Open(args[0], agent.Modest)
	if err != nil {
		return err
	}
	places, err := shm.NewMutexes(s, "places", 0)
	if err != nil {
		return err
	}
	places.At(0).Lock()
	fmt.Println("held")
	return shmtest.Replies(func([]string) (string, error) { return "held", nil })
})

// victim passes all kill points, and is killed at one of them.
var victim = shmtest.Helper("victim", func(args []string) error {
	if err := os.Unsetenv("SHM_KILL_AT"); err != nil { // The processes that it starts are not killed there.
		return err
	}
	// It attaches, and finds the locks of an earlier boot, and what a process that
	// died while it added a value has left.
	s, err := shm.Open(args[0], agent.Modest)
	if err != nil {
		return err
	}
	if _, err := shm.Anonymous(agent.Modest); err != nil { // a new one
		return err
	}
	v := &victimised{s: s}
	if err := shm.Bind(s, &v.world); err != nil {
		return err
	}
	v.cell = agent.Cell(shmtest.InHelper, s, agent.ValueName)
	for _, do := range []func() error{v.count, v.add, v.publish, v.lockAlone, v.lockAmongGoroutines, v.lockBesideProcesses, v.await} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
})

// victimised is what a victim works on.
type victimised struct {
	world
	s    *shm.Segment
	cell *format.LockCell // of N
}

// rival starts another process that works on the lock of N.
func (v *victimised) rival() *shmtest.Process { return agent.Start(shmtest.InHelper, v.s.Name()) }

// orphans is what the process that dies first has counted.
const orphans = 1000

// count counts, in cells that dead processes have left, and in new ones.
func (v *victimised) count() error {
	for range 10 {
		v.Count.Add(1)
		v.Took.Observe(2)
	}
	v.Gauge.Set(1)
	if n := v.Gauge.Load(); n != 1 && n != 1+orphans {
		return fmt.Errorf("the gauge is %d", n)
	}
	fresh, err := shm.NewCounter[int64](v.s, "fresh counter")
	if err != nil {
		return err
	}
	fresh.Add(1)
	copied, _ := v.s.Lookup("fresh counter")
	sum, _, err := copied.Bytes(0)
	if err == nil {
		err = copied.SetBytes(context.Background(), 0, sum)
	}
	if err != nil || fresh.Load() != 1 {
		return fmt.Errorf("the counter is %d after it was set to what it was: %w", fresh.Load(), err)
	}
	cells, err := shm.NewGauge[int64](v.s, "fresh gauge")
	if err != nil {
		return err
	}
	cells.Add(1)
	late := v.rival()
	late.Do("gauge 5", "set")
	late.Kill()
	for range 1000 { // until it is found dead
		if cells.Load() == 1 {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("the gauge is %d still", cells.Load())
}

// add adds values, and makes one grow.
func (v *victimised) add() error {
	if _, err := shm.NewRawArray[byte](v.s, "large", 1<<20); err != nil {
		return err
	}
	if _, err := shm.NewStruct(v.s, "another", pair{1, 1}); err != nil {
		return err
	}
	for i := range format.IndexSlots / 2 { // the index gets too small
		if _, err := shm.NewRawValue(v.s, fmt.Sprint("one of many ", i), 0.5); err != nil {
			return err
		}
	}
	later, err := shm.NewStruct(v.s, "pair", trio{})
	if err != nil {
		return err
	}
	later.Update(func(p *trio) { p.A, p.B, p.C = p.A+1, p.B+1, p.C+1 })
	laterRows, err := shm.NewTable[trio](v.s, "table", 0)
	if err != nil {
		return err
	}
	laterRows.Row(1).Update(func(p *trio) { p.A, p.B, p.C = p.A+1, p.B+1, p.C+1 })
	return nil
}

// publish changes values, in place and in slots.
func (v *victimised) publish() error {
	v.Pair.Update(func(p *pair) { p.A, p.B = p.A+1, p.B+1 })
	e, _ := v.s.Lookup("pair")
	if err := e.Parse(`{"A": 7, "B": 7}`); err != nil {
		return err
	}
	for _, text := range []string{"first", "second"} {
		if err := v.Text.Store(text); err != nil {
			return err
		}
	}
	for i := range int64(4) { // into each slot, and once more
		v.Ring.Append(pair{i + 1, i + 1})
	}
	for i := range v.Table.Len() {
		v.Table.Row(i).Update(func(p *pair) { p.A, p.B = p.A+1, p.B+1 })
	}
	v.Row.Store(0, 5)
	v.Row.Add(1, 6)
	_ = shmtest.Panic(func() {
		v.Row.WithLock(func([]int64) { panic("halfway") })
	})
	v.N.Add(1)
	return nil
}

// lockAlone takes locks that nobody else asks for, also after an owner that died
// in this boot.
func (v *victimised) lockAlone() error {
	mu := v.N.Mutex()
	if err := mu.LockContext(context.Background()); err != nil {
		return err
	}
	mu.Unlock()
	if !mu.TryLock() {
		return errors.New("a free lock refused TryLock")
	}
	mu.Unlock()
	if err := v.readBesideRestlessWriter(); err != nil {
		return err
	}

	late := v.rival()
	late.Do("lock", "locked")
	late.Kill()
	mu.Lock()
	mu.Abandoned()
	mu.Unlock()

	late = shmtest.Start(shmtest.InHelper, placeHolder, v.s.Name())
	late.Expect("held")
	late.Kill()
	for i := range 3 { // the first one is a dead owner's
		if got, err := v.Places.LockAny(context.Background()); got != i || err != nil {
			return fmt.Errorf("place %d, %w, want %d", got, err, i)
		}
	}
	v.Places.At(2).Unlock()
	reserved := mem.After[format.LockCell](agent.Cell(shmtest.InHelper, v.s, "places"), 2*format.Line)
	reserved.Word.Store(format.KernelWaiters)
	reserved.Probed.Store(0)
	if got, err := v.Places.LockAny(context.Background()); got != 2 || err != nil {
		return fmt.Errorf("a forgotten reservation: place %d, %w", got, err)
	}
	for i := range 3 {
		v.Places.At(i).Abandoned()
		v.Places.At(i).Unlock()
	}

	// A reservation that no waiter comes for, as a dead waiter leaves it.
	v.cell.Word.Store(format.KernelWaiters)
	v.cell.Probed.Store(0)
	if !mu.TryLock() {
		return errors.New("a forgotten reservation refused TryLock")
	}
	mu.Unlock()
	return nil
}

// readBesideRestlessWriter reads a published value that commits during each copy, as
// a writer that never rests makes it. Nobody has the lock, so the reader takes a free
// lock on the slow path. The commits come from the copying itself, because a writer
// of its own may never run at the same time as the reader.
func (v *victimised) readBesideRestlessWriter() error {
	e, _ := v.s.Lookup("large struct")
	region := agent.Map(shmtest.InHelper, v.s)
	record := &format.Record{
		Data: e.Offset - format.LockedOffset, Capacity: e.Size,
		Shape: format.Shape{Access: format.Published, Kind: format.KindSingle, Label: format.Label{Name: e.Name}},
	}
	token := new(race.Cells).Token(record.Data)
	p, party := slots.At(region, record, token), new(robust.Party)
	party.Init(mem.At[format.Header](region, 0), new(lease.Control), region.Path, false)
	party.ShareAllocation(new(sync.Mutex))
	if err := party.Take(v.s.File()); err != nil {
		return err
	}
	p.Lock = new(robust.Table).Get(party, p.Cell, record.Data, e.Name, token, func() *robust.Lock { return new(robust.Lock) })
	copies := 0
	p.Read(func([]byte) {
		copies++
		if p.Cell.Word.Load() == 0 {
			p.Cell.Commit.Add(2)
		}
	})
	runtime.KeepAlive(party)
	if p.Cell.Word.Load() != 0 || copies < 2 {
		return fmt.Errorf("after %d copies the lock's word is %#x", copies, p.Cell.Word.Load())
	}
	return nil
}

// lockAmongGoroutines has goroutines of this process compete.
func (v *victimised) lockAmongGoroutines() error {
	// First some that all queue behind one holder.
	const queue = 3
	var wg sync.WaitGroup
	v.N.Mutex().Lock()
	for range queue {
		wg.Go(func() { v.N.Add(1) })
	}
	for parked() < queue {
		runtime.Gosched()
	}
	v.N.Mutex().Unlock()
	wg.Wait()
	for range 8 {
		wg.Go(func() {
			for range 3000 {
				v.N.Add(1)
			}
		})
	}
	wg.Wait()
	return nil
}

// parked returns how many goroutines of this process wait for a lock in its queue.
func parked() int {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return strings.Count(string(stacks), "robust.(*waiter).park(")
}

// lockBesideProcesses competes with another process, which waits long, dies while
// it waits, or holds the lock.
func (v *victimised) lockBesideProcesses() error {
	mu := v.N.Mutex()
	rival := v.rival()
	for _, dies := range []bool{false, true} {
		mu.Lock()
		rival.Say("add 1")
		agent.Sleeping(shmtest.InHelper, v.cell, true)
		if dies {
			rival.Kill()
		}
		mu.Unlock()
		if !dies {
			rival.Expect("added")
		}
	}
	// A goroutine sleeps until another process unlocks, and takes the lock then.
	rival = v.rival()
	rival.Do("lock", "locked")
	var wg sync.WaitGroup
	wg.Go(func() { v.N.Add(1) })
	agent.Sleeping(shmtest.InHelper, v.cell, true)
	rival.Do("unlock", "unlocked")
	wg.Wait()
	// Two goroutines queue behind an owner that dies. The one that takes the lock over leaves
	// the other one in the queue.
	rival.Do("lock", "locked")
	for range 2 {
		wg.Go(func() { v.N.Add(1) })
	}
	for parked() < 1 {
		runtime.Gosched()
	}
	rival.Kill()
	wg.Wait()
	if err := v.lockMany(); err != nil {
		return err
	}
	hog := v.rival()
	hog.Say("hog")
	for range 20 {
		v.N.Add(1)
	}
	hog.Kill()
	v.N.Add(1)
	return nil
}

// lockMany waits for more locks of another process than have a slot in the kernel, until
// a goroutine without a slot has waited for long.
func (v *victimised) lockMany() error {
	const many = 40
	rival := v.rival()
	rival.Do(fmt.Sprint("lockAll ", many), "locked")
	ctx, giveUp := context.WithTimeout(context.Background(), time.Minute)
	defer giveUp()
	var wg sync.WaitGroup
	var cells []*format.LockCell
	for i := range many {
		name := fmt.Sprint("mutex", i)
		other, err := shm.NewMutex(v.s, name)
		if err != nil {
			return err
		}
		cells = append(cells, agent.Cell(shmtest.InHelper, v.s, name))
		wg.Go(func() {
			if other.LockContext(ctx) == nil {
				panic("a living owner was robbed")
			}
		})
	}
	inGo := func(c *format.LockCell) bool { return c.Starve.Load() == format.StarveGo }
	for !slices.ContainsFunc(cells, inGo) && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	err := ctx.Err()
	giveUp()
	wg.Wait()
	rival.Kill()
	if err != nil {
		return fmt.Errorf("none of %d goroutines waits long in Go: %w", many, err)
	}
	return nil
}

// await awaits a change, and makes one that another process awaits.
func (v *victimised) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := v.N.Await(ctx, func(x int64) bool { return x < 0 }); err == nil {
		return errors.New("the number is below 0")
	}
	rival := v.rival()
	rival.Do("goAwait 1", "awaiting")
	for v.cell.Change.Word.Load()&format.Awaited == 0 {
		runtime.Gosched()
	}
	v.N.Add(1)
	return nil
}
