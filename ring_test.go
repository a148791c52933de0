//go:build linux

package shm_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// whole is a value whose words are all the same, if it is one value.
type whole [7]uint64

func wholeOf(n uint64) (w whole) {
	for i := range w {
		w[i] = n
	}
	return w
}

// ringCell returns the lock cell of a ring.
func ringCell(t testing.TB, s *shm.Segment, name string) *format.LockCell {
	t.Helper()
	e, ok := s.Lookup(name)
	if !ok {
		t.Fatalf("there is no %q", name)
	}
	return mem.At[format.LockCell](agent.Map(t, s), e.Offset-format.LockedOffset)
}

func TestRing(t *testing.T) {
	ctx := t.Context()
	for _, n := range []int{1, 2, 3, 10} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			name := shmtest.Name(t)
			s := open(t, name, nil)
			v := shmtest.Must(shm.NewRing[whole](s, "r", n))(t)
			again := shmtest.Must(shm.NewRing[whole](open(t, name, &shm.Options{ReadOnly: true}), "r", 0))(t)
			if v.Len() != n || again.Len() != n {
				t.Fatalf("lengths %d, %d", v.Len(), again.Len())
			}
			if x, seq, ok := again.Last(); ok || seq != 0 || x != (whole{}) {
				t.Errorf("an empty ring has %v, %d", x, seq)
			}
			for _, seq := range []uint64{math.MaxUint64, math.MaxUint64 - uint64(n) + 1, 1 << 63} { // the difference to 0 is small
				soon, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
				if x, got, err := v.From(seq).Next(soon); err == nil {
					t.Errorf("an empty ring has %v, %d for a reader from %d", x, got, seq)
				}
				cancel()
			}
			oldest, later := again.From(0), v.Reader()
			expect := func(what string, r *shm.RingReader[whole], want uint64) {
				t.Helper()
				x, seq, err := r.Next(ctx)
				if err != nil || seq != want || x != wholeOf(want) {
					t.Fatalf("%s: %v, %d, %v; want number %d", what, x, seq, err, want)
				}
			}
			const values = 25
			for i := uint64(1); i <= values; i++ {
				if seq := v.Append(wholeOf(i)); seq != i {
					t.Fatalf("value %d has the number %d", i, seq)
				}
				expect("a reader that keeps up", later, i)
				if x, seq, ok := again.Last(); !ok || seq != i || x != wholeOf(i) {
					t.Fatalf("after value %d the last is %d: %v", i, seq, x)
				}
			}
			for i := values - uint64(n) + 1; i <= values; i++ {
				expect("a reader from the start", oldest, i)
			}
			if got := oldest.Missed(); got != values-uint64(n) || later.Missed() != 0 {
				t.Errorf("missed %d and %d", got, later.Missed())
			}
			expect("back to what is kept", later.From(values), values)
			expect("from the oldest", later.From(0), values-uint64(n)+1)
			if later.Missed() != 0 {
				t.Errorf("From made %d missed", later.Missed())
			}
			expect("back to what is not kept", later.From(1), values-uint64(n)+1)
			if later.Missed() != values-uint64(n) {
				t.Errorf("missed %d", later.Missed())
			}
			ahead := v.From(values + 3)
			for i := uint64(values + 1); i <= values+3; i++ {
				v.Append(wholeOf(i))
			}
			expect("ahead", ahead, values+3)
			done, cancel := context.WithCancel(ctx)
			cancel()
			if _, _, err := v.From(0).Next(done); !errors.Is(err, context.Canceled) {
				t.Errorf("beside a value, ctx is done: %v", err)
			}
		})
	}
}

func TestRingErrors(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	v := shmtest.Must(shm.NewRing[int64](s, "r", 4))(t)
	var mismatch *shm.LayoutError
	for what, err := range map[string]error{
		"another length": shmtest.Error(shm.NewRing[int64](s, "r", 5)),
		"another type":   shmtest.Error(shm.NewRing[int32](s, "r", 4)),
		"an array":       shmtest.Error(shm.NewArray[int64](s, "r", 4)),
		"a struct":       shmtest.Error(shm.NewStruct(s, "r", int64(0))),
	} {
		if !errors.As(err, &mismatch) || !strings.Contains(err.Error(), "is a Ring[int64] of 4 values") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := shmtest.Error(shm.NewRing[int64](s, "none", 0)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no length: %v", err)
	}
	if err := shmtest.Error(shm.NewRing[int64](s, "none", -1)); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("negative length: %v", err)
	}
	if err := shmtest.Error(shm.NewRing[int64](s, "none", math.MaxInt)); err == nil {
		t.Error("any length")
	}
	var unfit *shm.TypeError
	if err := shmtest.Error(shm.NewRing[string](s, "none", 1)); !errors.As(err, &unfit) {
		t.Errorf("strings: %v", err)
	}
	ro := shmtest.Must(shm.NewRing[int64](open(t, name, &shm.Options{ReadOnly: true}), "r", 0))(t)
	if err, ok := shmtest.Panic(func() { ro.Append(1) }).(error); !ok || !errors.Is(err, shm.ErrReadOnly) {
		t.Errorf("Append, read-only: %v", err)
	}
	r := v.Reader()
	ended := make(chan error)
	go func() { ended <- third(r.Next(context.Background())) }()
	v.Append(1)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	go func() { ended <- third(r.Next(context.Background())) }()
	time.Sleep(10 * time.Millisecond) // so that it sleeps, most times
	s.Close()
	shmtest.Within(t, "the end of Next after Close", func() {
		if err := <-ended; !errors.Is(err, shm.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
	v.Append(2)
	if x, seq, ok := v.Last(); x != 2 || seq != 2 || !ok {
		t.Errorf("after Close the last is %d, %d", x, seq)
	}
	if err := third(v.From(0).Next(context.Background())); !errors.Is(err, shm.ErrClosed) {
		t.Errorf("with values, after Close: %v", err)
	}
}

func third[A, B any](_ A, _ B, err error) error { return err }

// A process that writes any number into the counter of values harms nobody: no access is
// outside, no loop endless, and each value that a reader gets is of a slot.
func TestRingOfAHostilePeer(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	v := shmtest.Must(shm.NewRing[whole](s, "r", 3))(t)
	for i := range uint64(5) {
		v.Append(wholeOf(i + 1))
	}
	cell := ringCell(t, s, "r")
	e, _ := s.Lookup("r")
	for _, count := range []uint64{0, 1, 2, 4, 6, 1 << 31, 1 << 32, 1 << 63, math.MaxUint64 - 1, math.MaxUint64} {
		for _, from := range []uint64{0, 1, 5, count - 1, count, count + 1, 1 << 63, math.MaxUint64} {
			cell.Commit.Store(count)
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			r := v.From(from)
			for range 6 {
				if _, _, err := r.Next(ctx); err != nil {
					break
				}
			}
			cancel()
		}
		v.Last()
		if list, ok := e.Any().([][]uint64); !ok || len(list) > 3 {
			t.Fatalf("count %d: %v", count, e.Any())
		}
		v.Append(wholeOf(7))
		if want := count + 1; cell.Commit.Load() != want {
			t.Errorf("after %d: %d", count, cell.Commit.Load())
		}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // each number is more than all values after the one before
		defer close(stopped)
		for n := uint64(1); ; n += 1000 {
			select {
			case <-stop:
				return
			default:
				cell.Commit.Store(n)
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	shmtest.Within(t, "a reader beside a peer that changes the number", func() {
		for r := v.Reader(); ; {
			if _, _, err := r.Next(ctx); err != nil {
				return
			}
		}
	})
	close(stop)
	<-stopped
}

func TestEntryOfARing(t *testing.T) {
	type point struct{ X, Y int32 }
	s := open(t, shmtest.Name(t), nil)
	v := shmtest.Must(shm.NewRing[point](s, "points", 3))(t)
	e, _ := s.Lookup("points")
	if e.Type() != "Ring[struct{...}]" || e.Len != 3 || e.Size != 24 {
		t.Errorf("%s of %d, %d bytes", e.Type(), e.Len, e.Size)
	}
	if list, ok := e.Any().([]map[string]any); !ok || len(list) != 0 || e.Text() != "[]" {
		t.Errorf("empty: %#v, %s", e.Any(), e.Text())
	}
	want := []string{"[{X: 1, Y: -1}]", "[{X: 1, Y: -1}, {X: 2, Y: -2}]", "[{X: 1, Y: -1}, {X: 2, Y: -2}, {X: 3, Y: -3}]", "[{X: 2, Y: -2}, {X: 3, Y: -3}, {X: 4, Y: -4}]"}
	for i, text := range want {
		v.Append(point{int32(i) + 1, -int32(i) - 1})
		list, ok := e.Any().([]map[string]any)
		if e.Text() != text || !ok || len(list) != min(i+1, 3) || list[len(list)-1]["X"] != int32(i)+1 {
			t.Errorf("%s, %#v; want %s", e.Text(), e.Any(), text)
		}
	}
	err := e.Parse("[{X: 1}]")
	if !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), "values are only appended") || e.Text() != want[3] {
		t.Errorf("Parse: %v", err)
	}
	shmtest.Must(shm.NewRing[[1 << 20]byte](s, "large", 20))(t)
	if e, _ := s.Lookup("large"); !strings.Contains(e.Text(), "<a Ring[[1048576]uint8] of 20 values, 20971520 bytes, too large to show>") {
		t.Error(e.Text())
	}
	number := shmtest.Must(shm.NewRing[int64](s, "numbers", 2))(t)
	e, _ = s.Lookup("numbers")
	if list, ok := e.Any().([]int64); !ok || len(list) != 0 {
		t.Errorf("no numbers: %#v", e.Any())
	}
	number.Append(7)
	if list, ok := e.Any().([]int64); !ok || len(list) != 1 || list[0] != 7 {
		t.Errorf("numbers: %#v", e.Any())
	}
}

// ringWriter appends values until it is told to end, or so many as it is told. Its
// values have its number in the high bits, and count in the low ones.
var ringWriter = shmtest.Helper("ringWriter", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := shm.NewRing[whole](s, "r", 0)
	if err != nil {
		return err
	}
	var who, n uint64
	if _, err := fmt.Sscan(args[1]+" "+args[2], &who, &n); err != nil {
		return err
	}
	for i := range n {
		v.Append(wholeOf(who<<32 | i))
	}
	fmt.Fprintln(os.Stdout, "done")
	return nil
})

// Readers beside writers in several processes: values are whole, their numbers rise,
// those of one writer stay in order, and what is missed is counted exactly.
func TestRingHistory(t *testing.T) {
	const writers = 3
	each := uint64(shmtest.Rounds(30_000))
	for _, n := range []int{1, 4, 1000} {
		name := shmtest.Name(t)
		s := open(t, name, nil)
		v := shmtest.Must(shm.NewRing[whole](s, "r", n))(t)
		ro := shmtest.Must(shm.NewRing[whole](open(t, name, &shm.Options{ReadOnly: true}), "r", 0))(t)
		ends := make(chan string)
		for _, r := range []*shm.RingReader[whole]{v.Reader(), ro.Reader(), v.Reader()} {
			go func() { ends <- readHistory(t.Context(), r, writers, each) }()
		}
		var all []*shmtest.Process
		for i := range writers - 1 {
			all = append(all, shmtest.Start(t, ringWriter, name, fmt.Sprint(i), fmt.Sprint(each)))
		}
		for i := range each {
			v.Append(wholeOf((writers-1)<<32 | i))
		}
		for _, p := range all {
			p.Expect("done")
			p.Wait()
		}
		for range 3 {
			if fault := <-ends; fault != "" {
				t.Errorf("%d kept: %s", n, fault)
			}
		}
		if _, seq, _ := v.Last(); seq != writers*each {
			t.Errorf("%d values, want %d", seq, writers*each)
		}
	}
}

// readHistory reads up to the last value, and returns what is wrong with what it reads.
func readHistory(ctx context.Context, r *shm.RingReader[whole], writers, each uint64) string {
	var last, got uint64
	newest := map[uint64]uint64{}
	for last < writers*each {
		x, seq, err := r.Next(ctx)
		if err != nil {
			return err.Error()
		}
		got++
		who, i := x[0]>>32, x[0]&math.MaxUint32
		before, known := newest[who]
		switch {
		case x != wholeOf(x[0]):
			return fmt.Sprintf("value %d is not whole: %v", seq, x)
		case seq <= last:
			return fmt.Sprintf("value %d after %d", seq, last)
		case who >= writers || known && i <= before:
			return fmt.Sprintf("value %d is %d of writer %d, after %d", seq, i, who, before)
		case seq != got+r.Missed():
			return fmt.Sprintf("value %d, the reader has got %d and missed %d", seq, got, r.Missed())
		}
		last, newest[who] = seq, i
	}
	return ""
}
