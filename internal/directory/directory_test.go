//go:build linux

package directory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/wait"
)

// What one mapping adds is found by the others: of this process, read-only, and of
// another process.
func TestFindWhatOthersAdd(t *testing.T) {
	m := newMapping(t)
	others := []mapping{m.again(false), m.again(true)}
	p := shmtest.Start(t, peer, m.Path)
	for i, n := range []int{1, 64, 1 << 16, 1 << 20} {
		name := fmt.Sprint("value", i)
		for _, o := range others {
			if r, err := o.find(name); r != nil || err != nil {
				t.Fatalf("before it exists: %v, %v", r, err)
			}
		}
		p.Do("find "+name, "nothing <nil>")
		var want string
		if i%2 == 0 {
			want = describe(m.added(array(name, int64(n))))
			p.Do("find "+name, want)
		} else {
			want = p.Ask(fmt.Sprint("add ", name, " ", n))
			if got := describe(m.found(name)); got != want {
				t.Errorf("found %s, want %s", got, want)
			}
		}
		for _, o := range others {
			if r := o.found(name); describe(r) != want || o.data(r)[n-1] != 0 {
				t.Errorf("found %s, want %s", describe(r), want)
			}
		}
	}
	p.Wait()
	late := m.again(false)
	for _, o := range append(others, m, late) {
		if names := o.allNames(); !slices.Equal(names, []string{"value0", "value1", "value2", "value3"}) {
			t.Errorf("the values are %q", names)
		}
	}
}

// Records that no process adds which follows the rules: names twice, and growth of
// what does not grow into that. Only the name in question suffers.
func TestRecordsThatContradict(t *testing.T) {
	type one struct{ A int64 }
	type two struct{ A, B int64 }
	type other struct{ X, B int64 }
	growth := func(s *format.Shape) *format.Shape { s.Kind = format.KindGrowth; return s }
	room := published[one]("s").Room()
	for what, c := range map[string]struct {
		shape    *format.Shape
		capacity int64
		of       string // whose growth it says that it is
		ok       bool
	}{
		"a new name":                     {number("new"), 8, "", true},
		"a name twice":                   {number("n"), 8, "", true},
		"a name twice, another shape":    {array("n", 3), 3, "", true},
		"growth":                         {growth(published[two]("s")), room, "s", true},
		"growth of another":              {growth(published[two]("s")), room, "n", false},
		"growth of a number":             {growth(published[two]("n")), room, "n", false},
		"growth into the same":           {growth(published[one]("s")), room, "s", false},
		"growth into something else":     {growth(published[other]("s")), room, "s", false},
		"growth with another capacity":   {growth(published[two]("s")), room + 64, "s", false},
		"growth into what is not longer": {growth(published[int64]("s")), room, "s", false},
	} {
		m := newMapping(t)
		n, s := m.added(number("n")), m.added(published[one]("s"))
		watcher := m.again(true)
		watcher.found("s")
		older := int64(0)
		if c.of != "" {
			older = m.found(c.of).Start
		}
		m.publish(c.shape, c.capacity, older)
		check := func(when string) {
			t.Helper()
			for who, m := range map[string]mapping{"a mapping that reads on": watcher, "a new mapping": m.again(true)} {
				for name, first := range map[string]*format.Record{"n": n, "s": s} {
					r, err := m.find(name)
					if name == c.shape.Name && !c.ok && m.isPath(err, errs.Format) {
						continue
					}
					if err != nil || r.Data != first.Data || r.Capacity != first.Capacity {
						t.Errorf("%s: %s%s: %s: %v, %v", what, who, when, name, r, err)
					}
				}
				if r, err := m.find("new"); (c.shape.Name == "new") != (r != nil) || err != nil {
					t.Errorf("%s: %s%s: a new name: %v, %v", what, who, when, r, err)
				}
			}
		}
		check("")
		m.added(number("more"))
		check(", once it is in the index")
		if r := watcher.found("more"); describe(r) != describe(m.found("more")) {
			t.Errorf("%s: what came later is at %s", what, describe(r))
		}
	}
}

// TestPeerBreaksWhatWasValid breaks a segment while it is attached: calls fail,
// and nothing is read out of bounds.
func TestPeerBreaksWhatWasValid(t *testing.T) {
	doing := shmtest.Watchdog(t)
	for _, c := range []struct {
		name  string
		spoil func(h *format.Header, f *os.File)
		add   error // of Add
		find  error // of Find
	}{
		{"used is no number", func(h *format.Header, _ *os.File) { h.Used.Word.Add(1) }, errs.Format, errs.Format},
		{"used is beyond the file", func(h *format.Header, _ *os.File) { h.Used.StoreBytes(1 << 21) }, errs.Format, errs.Format},
		{"used is beyond the mapping", func(h *format.Header, _ *os.File) { h.Used.StoreBytes(1 << 30) }, errs.Full, errs.Full},
		{"used is beyond any segment", func(h *format.Header, _ *os.File) { h.Used.StoreBytes(format.MaxSegment + format.Line) }, errs.Format, errs.Format},
		{"used has shrunk", func(h *format.Header, _ *os.File) { h.Used.StoreBytes(format.HeaderSize) }, errs.Format, errs.Format},
		{"zeros are used", func(h *format.Header, _ *os.File) { n, _ := h.Used.Bytes(); h.Used.StoreBytes(n + 640) }, errs.Format, errs.Format},
		{"allocated is no number", func(h *format.Header, _ *os.File) { h.Allocated.Word.Add(1) }, errs.Format, nil},
		{"allocated is beyond the file", func(h *format.Header, _ *os.File) { h.Allocated.StoreBytes(1 << 40) }, errs.Format, nil},
		{"dirty is no number", func(h *format.Header, _ *os.File) { h.Dirty.Word.Add(1) }, errs.Format, nil},
		{"dirty is beyond the file", func(h *format.Header, _ *os.File) { h.Dirty.StoreBytes(1 << 21) }, errs.Format, nil},
		{"dirty is beyond the mapping", func(h *format.Header, _ *os.File) { h.Dirty.StoreBytes(1 << 30) }, errs.Full, nil},
		{"cut", func(h *format.Header, f *os.File) {
			n, _ := h.Used.Bytes()
			h.Used.StoreBytes(n + 1<<15)
			if err := f.Truncate(n + 100); err != nil {
				t.Error(err)
			}
		}, errs.Format, errs.Format},
	} {
		doing(c.name)
		m := newMapping(t)
		first, err := m.add(number("first"), func(r *format.Record) { m.data(r)[0] = 1 })
		if err != nil {
			t.Fatal(err)
		}
		c.spoil(m.Header, m.File)
		word := m.Header.Used.Word.Load()
		for range 2 { // a call that fails leaves nothing locked
			r, err := m.add(array("big", 1<<20), func(*format.Record) { t.Errorf("%s: init is called", c.name) })
			if !m.isPath(err, c.add) || r != nil || m.Header.Used.Word.Load() != word {
				t.Errorf("%s: Add: %v, %v", c.name, r, err)
			}
			if r, err := m.find("big"); r != nil || c.find == nil && err != nil || c.find != nil && !m.isPath(err, c.find) {
				t.Errorf("%s: Find: %v, %v", c.name, r, err)
			}
		}
		if r, err := m.find("first"); r != first || err != nil || m.data(first)[0] != 1 {
			t.Errorf("%s: the value has gone: %v", c.name, err)
		}
	}
}

// TestOutgrownMapping: where the system let a process map only a part, and others
// have grown the segment beyond it, the values that it knows are there still.
func TestOutgrownMapping(t *testing.T) {
	m := newMapping(t)
	known := m.added(number("known"))
	m.Bytes = m.Bytes[:format.FirstAllocation]
	p := shmtest.Start(t, peer, m.Path)
	p.Ask(fmt.Sprint("add beyond ", format.FirstAllocation))
	if again, err := m.find("known"); err != nil || again != known {
		t.Errorf("a known value: %v, %v", again, err)
	}
	never := func() error { return nil }
	if r, err := m.Await(t.Context(), m.File, "known", never); err != nil || r != known {
		t.Errorf("Await of a known value: %v, %v", r, err)
	}
	for what, err := range map[string]error{
		"beyond": shmtest.Error(m.find("beyond")),
		"new":    shmtest.Error(m.add(number("new"), nil)),
		"Await":  shmtest.Error(m.Await(t.Context(), m.File, "beyond", never)),
	} {
		if !m.isPath(err, errs.Full) {
			t.Errorf("%s: %v", what, err)
		}
	}
	p.Wait()
}

// waiting is a goroutine in Await.
type waiting struct {
	r    *format.Record
	err  error
	done chan struct{}
}

// await starts a goroutine in Await, and returns once it has looked in vain.
func (m mapping) await(ctx context.Context, name string, stop func() error) *waiting {
	m.t.Helper()
	w, looked := &waiting{done: make(chan struct{})}, make(chan struct{})
	var once sync.Once
	go func() {
		defer close(w.done)
		w.r, w.err = m.Await(ctx, m.File, name, func() error {
			defer once.Do(func() { close(looked) })
			return stop()
		})
	}()
	shmtest.Within(m.t, "the first look", func() { <-looked })
	return w
}

func (w *waiting) end(t *testing.T, what string) (*format.Record, error) {
	t.Helper()
	shmtest.Within(t, what, func() { <-w.done })
	return w.r, w.err
}

// Await returns the value as soon as any process has added it, whatever else comes
// before.
func TestAwait(t *testing.T) {
	goOn := func() error { return nil }
	m := newMapping(t)
	mappings := map[string]mapping{"the same mapping": m, "another mapping": m.again(false), "a read-only mapping": m.again(true)}
	p := shmtest.Start(t, peer, m.Path)
	for i, add := range []func(string){
		func(name string) { m.added(array(name, 8)) },
		func(name string) { p.Ask("add " + name + " 8") },
	} {
		name := fmt.Sprint("awaited", i)
		all := map[string]*waiting{}
		for what, o := range mappings {
			all[what] = o.await(t.Context(), name, goOn)
			all[what+", twice"] = o.await(t.Context(), name, goOn)
		}
		add("other" + name)
		for what, w := range all {
			select {
			case <-w.done:
				t.Errorf("%s: another name has ended it: %v, %v", what, w.r, w.err)
			default:
			}
		}
		add(name)
		for what, w := range all {
			if r, err := w.end(t, what); err != nil || r == nil || r.Name != name || describe(r) != describe(m.found(name)) {
				t.Errorf("%s: %v, %v", what, r, err)
			}
		}
		if r, err := m.Await(t.Context(), m.File, name, goOn); err != nil || describe(r) != describe(m.found(name)) {
			t.Errorf("of a value that exists: %v, %v", r, err)
		}
	}
	p.Wait()
}

// Await ends without a value when stop says so, when its context is done, and when
// the segment is corrupt.
func TestAwaitThatEnds(t *testing.T) {
	stopped := errors.New("stopped")
	for _, readOnly := range []bool{false, true} {
		m := newMapping(t)
		m.added(number("n"))
		o := m.again(readOnly)
		if r, err := o.Await(t.Context(), o.File, "n", func() error { return stopped }); r != nil || err != stopped {
			t.Errorf("stopped from the start: %v, %v", r, err)
		}
		var stop, fickle atomic.Bool
		ctx, cancel := context.WithCancel(t.Context())
		gone := o.await(ctx, "none", func() error { return nil })
		steady := o.await(t.Context(), "none", func() error { return nil })
		ends := o.await(t.Context(), "none", func() error {
			if stop.Load() {
				return stopped
			}
			fickle.Store(true)
			return nil
		})
		fickle.Store(false)
		o.WakeAll()
		shmtest.Eventually(t, "WakeAll makes it call stop", fickle.Load)
		stop.Store(true)
		o.WakeAll()
		if r, err := ends.end(t, "the one that is stopped"); r != nil || err != stopped {
			t.Errorf("stopped: %v, %v", r, err)
		}
		cancel()
		if r, err := gone.end(t, "the one whose context is done"); r != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v, %v", r, err)
		}
		select {
		case <-steady.done:
			t.Errorf("the ends of others have ended it: %v, %v", steady.r, steady.err)
		default:
		}
		m.Header.Used.Word.Add(1)
		wait.Changed(&m.Header.Names)
		if r, err := steady.end(t, "the one beside a damaged header"); r != nil || !o.isPath(err, errs.Format) {
			t.Errorf("corrupt: %v, %v", r, err)
		}
	}
}

// WakeAll and Add wake those who sleep in the kernel: WakeAll those of its mapping, Add
// those of all.
func TestSleepersAreWoken(t *testing.T) {
	m := newMapping(t)
	if err := m.owner.Take(m.File); err != nil { // for a bit that others do not have
		t.Fatal(err)
	}
	other := m.again(false)
	if err := other.owner.Take(m.File); err != nil {
		t.Fatal(err)
	}
	word := &m.Header.Names.Word
	m.WakeAll() // nobody awaits anything
	w := m.await(t.Context(), "n", func() error { return nil })
	if word.Load()&format.Awaited == 0 {
		t.Fatal("who awaits a name has not announced that")
	}
	mine, others := memtest.Sleeper(t, word, m.owner.WakeBit()), memtest.Sleeper(t, word, other.owner.WakeBit())
	m.WakeAll()
	shmtest.Within(t, "the sleeper that WakeAll wakes", func() { <-mine })
	mine = memtest.Sleeper(t, word, m.owner.WakeBit())
	select {
	case <-others:
		t.Error("WakeAll has woken a sleeper of another mapping")
	default:
	}
	other.added(number("n"))
	shmtest.Within(t, "the sleepers that Add wakes", func() { <-mine; <-others })
	if r, err := w.end(t, "the one that awaits the name"); err != nil || r == nil {
		t.Errorf("%v, %v", r, err)
	}
}
