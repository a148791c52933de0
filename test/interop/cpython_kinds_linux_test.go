package interop_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// triple is a struct of C's int, double and long long.
type triple struct {
	X int32
	Y float64
	Z int64
}

// contents is what a value of each kind holds.
type contents struct {
	X    int32
	Y    float64
	Z    int64
	Foo  triple
	List [10]float64
	Text string
}

// eachKind is a value of each kind, locked or raw.
type eachKind interface {
	set(contents) error
	get() contents
	double() error
}

func bindKinds(s *shm.Segment, raw bool) (eachKind, error) {
	if raw {
		k := new(rawKinds)
		return k, shm.Bind(s, k)
	}
	k := new(lockedKinds)
	return k, shm.Bind(s, k)
}

type rawKinds struct {
	X    shm.RawValue[int32]
	Y    shm.RawValue[float64]
	Z    shm.RawValue[int64]
	Foo  shm.RawStruct[triple]
	List shm.RawArray[float64] `shm:"list,len=10"`
	Text shm.CharArray         `shm:"text,len=20"`
}

func (k *rawKinds) set(p contents) error {
	k.X.Set(p.X)
	k.Y.Set(p.Y)
	k.Z.Set(p.Z)
	k.Foo.Set(p.Foo)
	copy(k.List.Slice(), p.List[:])
	return k.Text.SetValue(p.Text)
}

func (k *rawKinds) get() contents {
	return contents{k.X.Get(), k.Y.Get(), k.Z.Get(), k.Foo.Get(), [10]float64(k.List.Slice()), k.Text.Value()}
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
	X    shm.Value[int32]
	Y    shm.Value[float64]
	Z    shm.Value[int64]
	Foo  shm.Struct[triple]
	List shm.Array[float64] `shm:"list,len=10"`
	Text shm.String         `shm:"text,len=20"`
}

func (k *lockedKinds) set(p contents) error {
	k.X.Store(p.X)
	k.Y.Store(p.Y)
	k.Z.Store(p.Z)
	k.Foo.Store(p.Foo)
	for i, x := range p.List {
		k.List.Store(i, x)
	}
	return k.Text.Store(p.Text)
}

func (k *lockedKinds) get() contents {
	return contents{k.X.Load(), k.Y.Load(), k.Z.Load(), k.Foo.Load(), [10]float64(k.List.Raw().Slice()), k.Text.Load()}
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
	name := shmtest.Name(t)
	k := shmtest.Must(bindKinds(shmtest.Opened(shm.Open(name, nil))(t), raw))(t)
	if got := k.get(); got != (contents{}) {
		t.Errorf("%+v at first", got)
	}
	p := contents{X: 7, Y: 1.0 / 3, Z: 1 << 33, Foo: triple{X: 3, Y: 2}, Text: "hello"} // Foo.Z is left out, so it is 0.
	want := contents{X: 14, Y: 2.0 / 3, Z: 1 << 34, Foo: triple{X: 6, Y: 4}, Text: "hellohello"}
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
	s := shmtest.Opened(shm.Open(shmtest.Name(t), nil))(t)
	foo := triple{2, 5, 1 << 33}
	raw, whole := shmtest.Must(shm.NewRawStruct(s, "raw", foo))(t), shmtest.Must(shm.NewStruct(s, "whole", foo))(t)
	a, b := raw.Get(), whole.Load()
	raw.Set(triple{})
	*raw.Ptr() = triple{}
	whole.Store(triple{})
	if a != foo || b != foo || raw.Get() != (triple{}) || whole.Load() != (triple{}) {
		t.Errorf("the copies are %v and %v, of values that are %v and %v now", a, b, raw.Get(), whole.Load())
	}
}

// TestBlocksLieSideBySide makes thousands of values of all sizes. No value overlaps
// another one, and nothing is between them.
func TestBlocksLieSideBySide(t *testing.T) {
	s := shmtest.Must(shm.Anonymous(nil))(t)
	defer s.Close()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 5000 {
		size := 1 + int(math.Exp(random.NormFloat64())*1000)
		c := shmtest.Must(shm.NewCharArray(s, fmt.Sprint(i), size))(t)
		for j := range c.Bytes() {
			c.Bytes()[j] = byte(i)
		}
	}
	end := int64(format.HeaderSize)
	n := 0
	describes := func(meta int64) bool { return meta >= format.RecordFixed && meta <= format.RecordFixed+2*format.Line }
	slots := int64(format.IndexSlots) // of the next index, which may lie between two values
	for e := range s.Entries() {
		meta := e.Offset - end
		if index := 2*format.Line + 8*slots; !describes(meta) && describes(meta-index) {
			meta -= index
			slots *= 2
		}
		if !describes(meta) {
			t.Fatalf("%q is at %d, what is before it ends at %d", e.Name, e.Offset, end)
		}
		b := shmtest.Must(shm.NewCharArray(s, e.Name, 0))(t).Bytes()
		if i := slices.IndexFunc(b, func(c byte) bool { return c != byte(n) }); i >= 0 || int64(len(b)) != e.Size {
			t.Fatalf("%q of %d bytes: byte %d is another value's", e.Name, e.Size, i)
		}
		end = e.Offset + format.RoundUp(e.Size)
		n++
	}
	if used, ok := agent.Header(t, s).Used.Bytes(); !ok || used != end || n != 5000 || end > s.Size() {
		t.Errorf("%d values up to byte %d, of %d used and %d allocated", n, end, used, s.Size())
	}
}

// TestCollectorGivesSegmentsBack lets the collector run all the time while segments
// are made whose handles are garbage in cycles. The cleanups that unmap them take
// no lock that those who make segments hold.
func TestCollectorGivesSegmentsBack(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	type owner struct {
		v     shm.Value[int64]
		buddy *owner
	}
	var made []uint64 // inodes
	shmtest.Within(t, "segments are made while the collector runs", func() {
		for i := range 100 {
			a, b := new(owner), new(owner)
			for _, o := range []*owner{a, b} {
				s, err := shm.Anonymous(&shm.Options{MaxSize: 1 << 20})
				if err != nil {
					t.Error(err)
					return
				}
				if o.v, err = shm.NewValue(s, "n", int64(i)); err != nil {
					t.Error(err)
				}
				inode, err := shmtest.Inode(s.File())
				if err != nil {
					t.Error(err)
				}
				made = append(made, inode)
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
			a.buddy, b.buddy = b, a
			if i == 0 && !slices.Contains(mappedSegments(t), made[0]) {
				t.Error("the segment of a handle is not mapped")
			}
			if a.v.Add(1) != int64(i+1) || b.v.Add(1) != int64(i+1) {
				t.Error("a value is gone while it is used")
			}
		}
	})
	shmtest.Eventually(t, "the segments are unmapped", func() bool {
		runtime.GC()
		mapped := mappedSegments(t)
		return !slices.ContainsFunc(made, func(inode uint64) bool { return slices.Contains(mapped, inode) })
	})
}

// mappedSegments returns the inodes of the anonymous segments that are mapped into
// this process.
func mappedSegments(t *testing.T) (inodes []uint64) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(maps)) {
		// address, permissions, offset, device, inode, path
		var inode uint64
		if f := strings.Fields(line); len(f) > 5 && strings.HasPrefix(f[5], "/memfd:") {
			if _, err := fmt.Sscan(f[4], &inode); err != nil {
				t.Error(err)
			}
			inodes = append(inodes, inode)
		}
	}
	return inodes
}
