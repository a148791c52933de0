//go:build linux

package shm_test

import (
	"bytes"
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

// FuzzOperations runs a program of operations on values in shared memory and on plain
// variables, and compares them after each operation. The program has two bytes for an
// operation: which one, and its operand.
func FuzzOperations(f *testing.F) {
	f.Add([]byte{0, 1, 10, 2, 20, 3, 30, 4, 40, 5, 50, 6, 60, 7, 70, 8, 80, 9, 90, 200, 255})
	f.Add([]byte("\x02hello\x03\x00\x02\xff\x03\xff\x01\x01"))
	f.Fuzz(func(t *testing.T, program []byte) {
		name := shmtest.Name(t)
		s := open(t, name, nil)
		array := shmtest.Must(shm.NewRawArray[int16](s, "array", 7))(t)
		chars := shmtest.Must(shm.NewCharArray(s, "chars", 9))(t)
		counter := shmtest.Must(shm.NewAtomic(s, "atomic", uint32(1)))(t)
		number := shmtest.Must(shm.NewValue(s, "value", int8(1)))(t)
		ro := open(t, name, &shm.Options{ReadOnly: true})
		seenArray := shmtest.Must(shm.NewRawArray[int16](ro, "array", 0))(t)
		seenChars := shmtest.Must(shm.NewCharArray(ro, "chars", 0))(t)
		seenCounter := shmtest.Must(shm.NewAtomic(ro, "atomic", uint32(0)))(t)
		seenNumber := shmtest.Must(shm.NewValue(ro, "value", int8(0)))(t)
		model := struct {
			array   [7]int16
			chars   [9]byte
			counter uint32
			number  int8
		}{counter: 1, number: 1}
		for ; len(program) >= 2; program = program[2:] {
			op, x := program[0], program[1]
			text := bytes.Repeat([]byte{x, op, 0}, 5)[op%3 : 3+op%12]
			switch op % 12 {
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
