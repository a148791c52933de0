//go:build linux

package shm_test

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/format/formattest"
	"example.org/shm/internal/shmtest"
)

// FuzzOpen opens files as a faulty or hostile peer may leave them: any bytes, or a
// valid segment with some bytes changed (an offset of two bytes and the new byte, over
// and over) and then all checksums made right. The result is an error or a segment,
// never both and never a fault, and the values that it lists can be attached to.
func FuzzOpen(f *testing.F) {
	valid := image(f)
	f.Add([]byte(nil), false)
	f.Add([]byte(format.Magic), false)
	f.Add(valid[:format.TableOffset], false)
	f.Add(valid[:format.HeaderSize+4*format.Line], false)
	f.Add([]byte(nil), true)
	for i, off := range []uint16{24, 64, 72, 80, format.HeaderSize, format.HeaderSize + 8, format.HeaderSize + 16, format.HeaderSize + 32, format.HeaderSize + 40, format.HeaderSize + 44, format.HeaderSize + format.RecordFixed} {
		f.Add([]byte{byte(off >> 8), byte(off), byte(i), byte((off + 1) >> 8), byte(off + 1), 0xff}, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, patch bool) {
		if patch {
			patched := bytes.Clone(valid)
			for ; len(b) >= 3; b = b[3:] {
				if off := int(b[0])<<8 | int(b[1]); off < len(patched) {
					patched[off] = b[2]
				}
			}
			formattest.Forge(patched)
			b = patched
		}
		path := shm.Path(shmtest.Name(t))
		shmtest.WriteFile(t, path, b)
		_ = refuses(t, path, b)
	})
}

// manyKinds is the values of FuzzOperations that are more than one number.
type manyKinds struct {
	Ring      shm.Ring[fuzzed]       `shm:"ring,len=3"`
	Counter   shm.Counter[int64]     `shm:"counter"`
	Halves    shm.Counter[float64]   `shm:"halves"`
	Gauge     shm.Gauge[int64]       `shm:"gauge"`
	Histogram shm.Histogram          `shm:"histogram,bounds=10;100;200"`
	Atomics   shm.AtomicArray[int32] `shm:"atomics,len=3"`
	Locks     shm.Mutexes            `shm:"locks,len=3"`
	Table     shm.Table[fuzzed]      `shm:"table,len=3"`
}

type fuzzed struct {
	N  int64
	On bool
}

// manyKindsModel is the same in plain variables.
type manyKindsModel struct {
	appended []fuzzed
	read     int // of those, by the reader or missed
	missed   uint64
	counter  int64
	halves   float64
	gauge    int64
	shown    bool
	counts   [4]uint64
	sum      float64
	atomics  [3]int32
	locked   [3]bool
	table    [3]fuzzed
}

// do does one operation to both, and compares what it returns.
func (m *manyKindsModel) do(t *testing.T, v *manyKinds, r *shm.RingReader[fuzzed], op, x byte) {
	i, n := int(x)%3, int64(x)-100
	value := fuzzed{n, x%2 == 0}
	switch op {
	case 0:
		m.appended = append(m.appended, value)
		if seq := v.Ring.Append(value); seq != uint64(len(m.appended)) {
			t.Fatalf("Append returned %d of %d", seq, len(m.appended))
		}
	case 1:
		ctx := done()
		if m.read < len(m.appended) {
			ctx = t.Context()
			oldest := max(0, len(m.appended)-3)
			m.missed += uint64(max(0, oldest-m.read))
			m.read = max(m.read, oldest) + 1
		}
		got, seq, err := r.Next(ctx)
		switch {
		case ctx.Err() != nil && !errors.Is(err, context.Canceled):
			t.Fatalf("Next of nothing returned %v, %v", got, err)
		case ctx.Err() == nil && (err != nil || got != m.appended[m.read-1] || seq != uint64(m.read)):
			t.Fatalf("Next returned %v, %d, %v, want value %d of %v", got, seq, err, m.read, m.appended)
		case r.Missed() != m.missed:
			t.Fatalf("Missed is %d, want %d", r.Missed(), m.missed)
		}
	case 2:
		m.counter += n
		v.Counter.Add(n)
	case 3:
		m.halves += float64(n) / 2
		v.Halves.Add(float64(n) / 2)
	case 4:
		m.gauge, m.shown = n, true
		v.Gauge.Set(n)
	case 5:
		m.gauge, m.shown = m.gauge+n, true
		v.Gauge.Add(n)
	case 6:
		m.sum += float64(x)
		b, _ := slices.BinarySearch([]byte{10, 100, 200}, x)
		m.counts[b]++
		v.Histogram.Observe(float64(x))
	case 7:
		m.atomics[i] += int32(n)
		if got := v.Atomics.At(i).Add(int32(n)); got != m.atomics[i] {
			t.Fatalf("Add returned %d of %d", got, m.atomics[i])
		}
	case 8:
		if got := v.Locks.At(i).TryLock(); got == m.locked[i] {
			t.Fatalf("TryLock of %d returned %v", i, got)
		}
		m.locked[i] = true
	case 9:
		if m.locked[i] {
			v.Locks.At(i).Unlock()
			m.locked[i] = false
		}
	case 10:
		free := slices.Index(m.locked[:], false)
		ctx := done()
		if free >= 0 {
			ctx = t.Context()
			m.locked[free] = true
		}
		if got, err := v.Locks.LockAny(ctx); err == nil && got != free || (err == nil) != (free >= 0) {
			t.Fatalf("LockAny returned %d, %v, want %d", got, err, free)
		}
	case 11:
		m.table[i] = value
		v.Table.Row(i).Store(value)
	case 12:
		m.table[i].N += n
		v.Table.Row(i).Update(func(p *fuzzed) { p.N += n })
	}
}

// compare compares the values, as another attachment sees them, with the model.
func (m *manyKindsModel) compare(t *testing.T, v *manyKinds) {
	got := *m
	var newest fuzzed
	var seq uint64
	err := shm.Snapshot(func() {
		newest, seq, _ = v.Ring.Last()
		for i, row := range v.Table.All() {
			got.table[i] = row
		}
	}, v.Ring, v.Table)
	h := v.Histogram.Load()
	got.counter, got.halves, got.gauge, got.sum = v.Counter.Load(), v.Halves.Load(), v.Gauge.Load(), h.Sum
	copy(got.counts[:], h.Counts)
	least, shown := v.Gauge.Min()
	most, _ := v.Gauge.Max()
	for i := range got.atomics {
		got.atomics[i] = v.Atomics.At(i).Load()
		_, got.locked[i] = v.Locks.Owner(i)
	}
	var want fuzzed
	if n := len(m.appended); n > 0 {
		want = m.appended[n-1]
	}
	if err != nil || newest != want || seq != uint64(len(m.appended)) || shown != m.shown || least != got.gauge || most != got.gauge ||
		!reflect.DeepEqual(&got, m) {
		t.Fatalf("%+v, newest %v %d, gauge %v %d %d, %v; want %+v, newest %v", got, newest, seq, shown, least, most, err, m, want)
	}
}

// FuzzOperations runs a program of operations on values in shared memory and on plain
// variables, and compares them after each operation. The program has two bytes for an
// operation: which one, and its operand.
func FuzzOperations(f *testing.F) {
	f.Add([]byte{0, 1, 10, 2, 20, 3, 30, 4, 40, 5, 50, 6, 60, 7, 70, 8, 80, 9, 90, 200, 255})
	f.Add([]byte("\x02hello\x03\x00\x02\xff\x03\xff\x01\x01"))
	var each []byte // of the operations on manyKinds, three times with different operands
	for i := range byte(3 * 13) {
		each = append(each, 12+i%13, 7*i)
	}
	f.Add(each)
	f.Add([]byte{12, 1, 12, 2, 12, 3, 12, 4, 12, 5, 13, 0, 13, 0, 12, 6, 12, 7, 12, 8, 13, 0, 13, 0, 13, 0, 13, 0}) // a reader is overtaken
	f.Fuzz(func(t *testing.T, program []byte) {
		name := shmtest.Name(t)
		s := open(t, name, nil)
		array := shmtest.Must(shm.NewRawArray[int16](s, "array", 7))(t)
		chars := shmtest.Must(shm.NewCharArray(s, "chars", 9))(t)
		counter := shmtest.Must(shm.NewAtomic(s, "atomic", uint32(1)))(t)
		number := shmtest.Must(shm.NewValue(s, "value", int8(1)))(t)
		var kinds, seenKinds manyKinds
		if err := shm.Bind(s, &kinds); err != nil {
			t.Fatal(err)
		}
		ro := open(t, name, &shm.Options{ReadOnly: true})
		seenArray := shmtest.Must(shm.NewRawArray[int16](ro, "array", 0))(t)
		seenChars := shmtest.Must(shm.NewCharArray(ro, "chars", 0))(t)
		seenCounter := shmtest.Must(shm.NewAtomic(ro, "atomic", uint32(0)))(t)
		seenNumber := shmtest.Must(shm.NewValue(ro, "value", int8(0)))(t)
		if err := shm.Bind(ro, &seenKinds); err != nil {
			t.Fatal(err)
		}
		var many manyKindsModel
		reader := seenKinds.Ring.Reader()
		model := struct {
			array   [7]int16
			chars   [9]byte
			counter uint32
			number  int8
		}{counter: 1, number: 1}
		for ; len(program) >= 2; program = program[2:] {
			op, x := program[0], program[1]
			if op %= 25; op >= 12 {
				many.do(t, &kinds, reader, op-12, x)
				many.compare(t, &seenKinds)
				continue
			}
			text := bytes.Repeat([]byte{x, op, 0}, 5)[op%3 : 3+op]
			switch op {
			case 0:
				array.Set(int(x)%7, int16(x)*257)
				model.array[x%7] = int16(x) * 257
			case 1:
				copy(array.Slice()[x%7:], array.Slice())
				copy(model.array[x%7:], model.array[:])
			case 2:
				err := chars.SetValue(string(text))
				if (err != nil) != (len(text) > 9) {
					t.Fatal(err)
				}
				if err == nil && copy(model.chars[:], text) < 9 {
					model.chars[len(text)] = 0
				}
			case 3:
				err := chars.SetRaw(text)
				if (err != nil) != (len(text) > 9) {
					t.Fatal(err)
				}
				if err == nil {
					copy(model.chars[:], text)
				}
			case 4:
				counter.Add(-uint32(x))
				model.counter -= uint32(x)
			case 5:
				counter.And(uint32(x) * 0x01010101)
				model.counter &= uint32(x) * 0x01010101
			case 6:
				counter.Or(uint32(x) << (x % 32))
				model.counter |= uint32(x) << (x % 32)
			case 7:
				if counter.CompareAndSwap(uint32(x), 7) != (model.counter == uint32(x)) {
					t.Fatal("CompareAndSwap")
				}
				if model.counter == uint32(x) {
					model.counter = 7
				}
			case 8:
				number.Add(int8(x))
				model.number += int8(x)
			case 9:
				number.Update(func(n int8) int8 { return n ^ int8(x) })
				model.number ^= int8(x)
			case 10:
				if old := number.Swap(int8(x)); old != model.number {
					t.Fatalf("Swap returned %d of %d", old, model.number)
				}
				model.number = int8(x)
			case 11:
				if number.CompareAndSwap(int8(x), 3) != (model.number == int8(x)) {
					t.Fatal("CompareAndSwap")
				}
				if model.number == int8(x) {
					model.number = 3
				}
			}
			text, _, _ = bytes.Cut(model.chars[:], []byte{0})
			if !slices.Equal(seenArray.Slice(), model.array[:]) || !bytes.Equal(seenChars.Raw(), model.chars[:]) || seenChars.Value() != string(text) ||
				seenCounter.Load() != model.counter || seenNumber.Load() != model.number {
				t.Fatalf("after %d with %d: %v %q %d %d, want %+v", op, x, seenArray.Slice(), seenChars.Raw(), seenCounter.Load(), seenNumber.Load(), model)
			}
		}
	})
}
