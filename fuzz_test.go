//go:build linux

package shm

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"
)

// FuzzParseLayout feeds formats as a broken or hostile peer may write them.
// The answer is an error or a layout, never both, and a layout is sound.
func FuzzParseLayout(f *testing.F) {
	for _, seed := range []string{
		"", "<i", "<Zd", "<l", "(2,3)<d", "(16)<c", "T{}", "T{64x}", "T{xx3x<b:a:}", "T{<b:a:3x<i:b:}",
		"T{<I:a:<Q:b:}", "T{<i:a:<i:a:}", "(2)T{T{<B:a:x<H:b:}:s:(3,5)<c:n:2x}", "(1048576,1048576,2)<b",
		"T{<q:\u00fc:T{T{T{<?:a:}:b:}:c:}:d:7x}", "(9999999999999999999)<b", "T{<i:",
	} {
		f.Add(nativeFormat(seed))
	}
	f.Fuzz(func(t *testing.T, format string) {
		l, err := ParseLayout(format)
		if err != nil {
			if !errors.Is(err, ErrFormat) || !reflect.DeepEqual(l, Layout{}) {
				t.Fatalf("%+v, %v", l, err)
			}
			return
		}
		if len(l.Format) > len(format) {
			t.Fatalf("%q grew to %q", format, l.Format)
		}
		checkSound(t, l)
		if !l.Equal(l) || !l.extends(l) || diff(l, l) != "" || l.text() == "" {
			t.Fatalf("%q differs from itself", l.Format)
		}
	})
}

// FuzzOpen opens files as a broken or hostile peer may leave them: any bytes, or
// a valid segment with some bytes changed (an offset of two bytes and the new
// byte, over and over) and then all checksums made right. The answer is an
// error or a segment, never both and never a fault, and what it lists can be
// attached to.
func FuzzOpen(f *testing.F) {
	valid := image(f)
	f.Add([]byte(nil), false)
	f.Add([]byte(magic), false)
	f.Add(valid[:tableOffset], false)
	f.Add(valid[:headerSize+4*line], false)
	f.Add([]byte(nil), true)
	for i, off := range []uint16{24, 64, 72, 80, headerSize, headerSize + 8, headerSize + 16, headerSize + 32, headerSize + 40, headerSize + 44, headerSize + recordFixed} {
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
			forge(patched)
			b = patched
		}
		path := Path(testName(t))
		lay(t, path, b)
		_ = refuses(t, path, b)
	})
}

// FuzzOperations runs a program of operations, a byte for which and one for its
// operand, on values in shared memory and on plain variables, and compares all
// after each.
func FuzzOperations(f *testing.F) {
	f.Add([]byte{0, 1, 10, 2, 20, 3, 30, 4, 40, 5, 50, 6, 60, 7, 70, 8, 80, 9, 90, 200, 255})
	f.Add([]byte("\x02hello\x03\x00\x02\xff\x03\xff\x01\x01"))
	f.Fuzz(func(t *testing.T, program []byte) {
		name := testName(t)
		s := open(t, name, nil)
		array := must(NewRawArray[int16](s, "array", 7))(t)
		chars := must(NewCharArray(s, "chars", 9))(t)
		counter := must(NewAtomic(s, "atomic", uint32(1)))(t)
		number := must(NewValue(s, "value", int8(1)))(t)
		ro := open(t, name, &Options{ReadOnly: true})
		seenArray := must(NewRawArray[int16](ro, "array", 0))(t)
		seenChars := must(NewCharArray(ro, "chars", 0))(t)
		seenCounter := must(NewAtomic(ro, "atomic", uint32(0)))(t)
		seenNumber := must(NewValue(ro, "value", int8(0)))(t)
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
