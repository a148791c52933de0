//go:build linux

package shm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"weak"
)

// triple is a struct of C's int, double and long long.
type triple struct {
	X int32
	Y float64
	Z int64
}

// said is what a value of each kind says.
type said struct {
	X    int32
	Y    float64
	Z    int64
	Foo  triple
	List [10]float64
	Text string
}

// eachKind is a value of each kind, locked or raw.
type eachKind interface {
	set(said) error
	get() said
	double() error
}

func bindKinds(s *Segment, raw bool) (eachKind, error) {
	if raw {
		k := new(rawKinds)
		return k, Bind(s, k)
	}
	k := new(lockedKinds)
	return k, Bind(s, k)
}

type rawKinds struct {
	X    RawValue[int32]
	Y    RawValue[float64]
	Z    RawValue[int64]
	Foo  RawStruct[triple]
	List RawArray[float64] `shm:"list,len=10"`
	Text CharArray         `shm:"text,len=20"`
}

func (k *rawKinds) set(p said) error {
	k.X.Set(p.X)
	k.Y.Set(p.Y)
	k.Z.Set(p.Z)
	k.Foo.Set(p.Foo)
	copy(k.List.Slice(), p.List[:])
	return k.Text.SetValue(p.Text)
}

func (k *rawKinds) get() said {
	return said{k.X.Get(), k.Y.Get(), k.Z.Get(), k.Foo.Get(), [10]float64(k.List.Slice()), k.Text.Value()}
}

func (k *rawKinds) double() error {
	k.X.Set(2 * k.X.Get())
	k.Y.Set(2 * k.Y.Get())
	k.Z.Set(2 * k.Z.Get())
	k.Foo.Ptr().X *= 2
	k.Foo.Ptr().Y *= 2
	for i := range k.List.Slice() {
		k.List.Slice()[i] *= 2
	}
	return k.Text.SetValue(k.Text.Value() + k.Text.Value())
}

type lockedKinds struct {
	X    Value[int32]
	Y    Value[float64]
	Z    Value[int64]
	Foo  Struct[triple]
	List Array[float64] `shm:"list,len=10"`
	Text String         `shm:"text,len=20"`
}

func (k *lockedKinds) set(p said) error {
	k.X.Store(p.X)
	k.Y.Store(p.Y)
	k.Z.Store(p.Z)
	k.Foo.Store(p.Foo)
	for i, x := range p.List {
		k.List.Store(i, x)
	}
	return k.Text.Store(p.Text)
}

func (k *lockedKinds) get() said {
	return said{k.X.Load(), k.Y.Load(), k.Z.Load(), k.Foo.Load(), [10]float64(k.List.Raw().Slice()), k.Text.Load()}
}

func (k *lockedKinds) double() error {
	k.X.Update(func(x int32) int32 { return 2 * x })
	k.Y.Update(func(y float64) float64 { return 2 * y })
	k.Z.Add(k.Z.Load())
	k.Foo.Update(func(f *triple) { f.X, f.Y = 2*f.X, 2*f.Y })
	for i := range k.List.Len() {
		k.List.Add(i, k.List.Load(i))
	}
	return k.Text.Store(k.Text.Load() + k.Text.Load())
}

func childDoubles(t *testing.T, raw bool) {
	name := testName(t)
	k := must(bindKinds(open(t, name, nil), raw))(t)
	if got := k.get(); got != (said{}) {
		t.Errorf("%+v at first", got)
	}
	p := said{X: 7, Y: 1.0 / 3, Z: 1 << 33, Foo: triple{X: 3, Y: 2}, Text: "hello"} // Z of a struct that is not given is 0
	want := said{X: 14, Y: 2.0 / 3, Z: 1 << 34, Foo: triple{X: 6, Y: 4}, Text: "hellohello"}
	for i := range p.List {
		p.List[i], want.List[i] = float64(i), float64(2*i)
	}
	if err := k.set(p); err != nil {
		t.Fatal(err)
	}
	runChild(t, "double", raw, name)
	if got := k.get(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestChildDoublesRaw(t *testing.T)    { t.Parallel(); childDoubles(t, true) }
func TestChildDoublesLocked(t *testing.T) { t.Parallel(); childDoubles(t, false) }

func TestCopyOfAStruct(t *testing.T) {
	s := open(t, testName(t), nil)
	foo := triple{2, 5, 1 << 33}
	raw, whole := must(NewRawStruct(s, "raw", foo))(t), must(NewStruct(s, "whole", foo))(t)
	a, b := raw.Get(), whole.Load()
	raw.Set(triple{})
	*raw.Ptr() = triple{}
	whole.Store(triple{})
	if a != foo || b != foo || raw.Get() != (triple{}) || whole.Load() != (triple{}) {
		t.Errorf("%v, %v of what is %v and %v now", a, b, raw.Get(), whole.Load())
	}
}

// TestBlocksLieSideBySide makes thousands of values of all sizes: none overlaps
// another, and nothing is between them.
func TestBlocksLieSideBySide(t *testing.T) {
	s := must(Anonymous(nil))(t)
	defer s.Close()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 5000 {
		size := 1 + int(math.Exp(random.NormFloat64())*1000)
		c := must(NewCharArray(s, fmt.Sprint(i), size))(t)
		for j := range c.Bytes() {
			c.Bytes()[j] = byte(i)
		}
	}
	end := int64(headerSize)
	n := 0
	for e := range s.Entries() {
		if meta := e.Offset - end; meta < recordFixed || meta > recordFixed+2*line {
			t.Fatalf("%q is at %d, what is before it ends at %d", e.Name, e.Offset, end)
		}
		b := must(NewCharArray(s, e.Name, 0))(t).Bytes()
		if i := slices.IndexFunc(b, func(c byte) bool { return c != byte(n) }); i >= 0 || int64(len(b)) != e.Size {
			t.Fatalf("%q of %d bytes: byte %d is another value's", e.Name, e.Size, i)
		}
		end = e.Offset + roundUp(e.Size)
		n++
	}
	if used, ok := s.m.Load().used.bytes(); !ok || used != end || n != 5000 || end > s.Size() {
		t.Errorf("%d values up to byte %d, of %d used and %d allocated", n, end, used, s.Size())
	}
}

// TestCollectorGivesSegmentsBack lets the collector run at every turn while
// segments are made whose handles are garbage in cycles: what it gives back, it
// does without a lock that the makers hold.
func TestCollectorGivesSegmentsBack(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	type owner struct {
		v     Value[int64]
		buddy *owner
	}
	var made []weak.Pointer[mapping]
	before := released.Load()
	within(t, "segments are made while the collector runs", func() {
		for i := range 100 {
			a, b := new(owner), new(owner)
			for _, o := range []*owner{a, b} {
				s, err := Anonymous(&Options{MaxSize: 1 << 20})
				if err != nil {
					t.Error(err)
					return
				}
				if o.v, err = NewValue(s, "n", int64(i)); err != nil {
					t.Error(err)
				}
				made = append(made, weak.Make(s.m.Load()))
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
			a.buddy, b.buddy = b, a
			if a.v.Add(1) != int64(i+1) || b.v.Add(1) != int64(i+1) {
				t.Error("a value is gone while it is used")
			}
		}
	})
	eventually(t, "the segments are given back", func() bool {
		runtime.GC()
		kept := slices.ContainsFunc(made, func(m weak.Pointer[mapping]) bool { return m.Value() != nil })
		return !kept && released.Load() >= before+int64(len(made))
	})
}
