package bindings

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"example.org/shm"
)

type point struct {
	X, Y int32
	On   bool
	Name [8]byte `shm:"name,char"`
	Grid [2]struct{ A, B int16 }
}

// everything has a value of each kind.
type everything struct {
	Raw       shm.RawValue[int16]    `shm:"raw,unit=m,help=a help text"`
	RawArray  shm.RawArray[float32]  `shm:"raw array,len=3"`
	RawStruct shm.RawStruct[point]   `shm:"raw struct"`
	Chars     shm.CharArray          `shm:"chars,len=16"`
	Atomic    shm.Atomic[int32]      `shm:"atomic,hint=counter"`
	Atomics   shm.AtomicArray[int64] `shm:"atomics,len=3"`
	Value     shm.Value[float64]     `shm:"value"`
	Array     shm.Array[int8]        `shm:"array,len=5"`
	Struct    shm.Struct[point]      `shm:"struct"`
	String    shm.String             `shm:"string,len=16"`
	Mutex     *shm.Mutex             `shm:"mutex"`
	Mutexes   shm.Mutexes            `shm:"mutexes,len=2"`
	Table     shm.Table[point]       `shm:"table,len=3"`
	Counter   shm.Counter[uint64]    `shm:"counter"`
	Seconds   shm.Counter[float64]   `shm:"seconds"`
	Gauge     shm.Gauge[int64]       `shm:"gauge"`
	Histogram shm.Histogram          `shm:"histogram,bounds=0.1;1"`
	Ring      shm.Ring[int32]        `shm:"ring,len=4"`
}

// TestCompare compares a value of each kind with Python and with C.
func TestCompare(t *testing.T) {
	path := filepath.Join(t.TempDir(), "segment")
	s, err := shm.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var b everything
	if err := shm.Bind(s, &b); err != nil {
		t.Fatal(err)
	}
	p := point{X: -1, Y: 2, On: true, Name: [8]byte{'a', 0, 'z'}}
	b.Raw.Set(-3)
	b.RawArray.Set(1, 1.5)
	b.RawStruct.Set(p)
	b.Atomic.Store(-7)
	b.Atomics.At(2).Store(-1 << 40)
	b.Value.Store(0.25)
	b.Array.Store(4, -4)
	b.Struct.Store(p)
	b.Struct.Update(func(p *point) { p.Grid[1].B = 9 })
	b.Table.Row(1).Store(p)
	b.Counter.Add(3)
	b.Seconds.Add(0.5)
	b.Gauge.Set(-5)
	b.Histogram.Observe(0.5)
	b.Ring.Append(1)
	for _, err := range []error{b.Chars.SetValue("chars"), b.String.Store("text")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range Compare(t.Context(), s, path) {
		t.Run(r.Language, func(t *testing.T) {
			tool := map[string]string{"Python": "python3", "C": "gcc"}[r.Language]
			if _, err := exec.LookPath(tool); err != nil {
				if r.Skipped == "" {
					t.Errorf("compared without %s", tool)
				}
				t.Skip(err)
			}
			// All but the ring and the locks have contents to compare.
			if r.Skipped != "" || r.Values != 18 || r.Contents != 15 || len(r.Different) > 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// numbers are values that change as a whole and are one number. Python loads them as
// its own numbers.
type numbers struct {
	Twelve   shm.Struct[uint64]     `shm:"twelve,unit=m"`
	Large    shm.Struct[uint64]     `shm:"large"`
	Negative shm.Struct[int16]      `shm:"negative"`
	Single   shm.Struct[float32]    `shm:"single"`
	Double   shm.Struct[float64]    `shm:"double"`
	Complex  shm.Struct[complex64]  `shm:"complex"`
	Wide     shm.Struct[complex128] `shm:"wide"`
	Bool     shm.Struct[bool]       `shm:"bool"`
	Array    shm.Struct[[3]int32]   `shm:"array"`
	Rows     shm.Table[int64]       `shm:"rows,len=2"`
	Waves    shm.Table[complex128]  `shm:"waves,len=2"`
}

// TestCompareNumbers compares numbers that change as a whole, texts that are not UTF-8, and
// characters that are an array and no C string.
func TestCompareNumbers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "segment")
	s, err := shm.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var b numbers
	if err := shm.Bind(s, &b); err != nil {
		t.Fatal(err)
	}
	b.Twelve.Store(12)
	b.Large.Store(1 << 45)
	b.Negative.Store(-3)
	b.Single.Store(1.5)
	b.Double.Store(-0.1)
	b.Complex.Store(complex(1, -2))
	b.Wide.Store(complex(0.1, -2))
	b.Bool.Store(true)
	b.Array.Store([3]int32{1, -2, 3})
	b.Rows.Row(1).Store(-7)
	b.Waves.Row(0).Store(complex(-1, 0.3))
	for _, d := range []shm.Description{
		// Python replaces three bytes that are no character by one to three replacement characters.
		{Name: "texts", Type: "RawValue", Layout: layoutOf[int32](t).Format, Unit: "\xf0\x9f\x92 \xff\xfe", Help: "\xff\xfeé\ufffd\xe2\x82"},
		{Name: "characters", Type: "RawArray", Layout: strings.Replace(layoutOf[int32](t).Format, "i", "c", 1), Len: 8},
	} {
		if _, err := s.Make(d); err != nil {
			t.Fatal(err)
		}
	}
	if e, ok := s.Lookup("characters"); !ok || kindOf(e) != 2 {
		t.Errorf("the array of characters is a %s", e.Type())
	}
	for _, r := range Compare(t.Context(), s, path) {
		t.Run(r.Language, func(t *testing.T) {
			if r.Skipped != "" {
				t.Skip(r.Skipped)
			}
			if r.Values != 13 || r.Contents != 13 || len(r.Different) > 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// layoutOf returns the layout of a type that can be shared.
func layoutOf[T any](t *testing.T) shm.Layout {
	t.Helper()
	l, err := shm.LayoutOf[T]()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestShown brings texts together that differ in replacement characters alone.
func TestShown(t *testing.T) {
	for _, same := range [][2]any{
		{"a\xff\xfeb", "a\ufffd\ufffdb"},
		{"\xe2\x82", "\ufffd"},
		{"\xf0\x9f\x92", "\ufffd\ufffd\ufffd"},
		{7, "7"},
	} {
		if shown(same[0]) != shown(same[1]) {
			t.Errorf("%q is shown as %q, and %q as %q", same[0], shown(same[0]), same[1], shown(same[1]))
		}
	}
	for _, other := range [][2]any{{"a\xff", "a"}, {"a", "b"}, {"a\xffb\xff", "a\xffb"}} {
		if shown(other[0]) == shown(other[1]) {
			t.Errorf("%q and %q are both shown as %q", other[0], other[1], shown(other[0]))
		}
	}
}

// TestCompareFindsDifferences gives answers that are not those of Go.
func TestCompareFindsDifferences(t *testing.T) {
	s, err := shm.Anonymous(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, name := range []string{"same", "offset", "bytes", "unreadable", "absent"} {
		if _, err := shm.NewAtomic(s, name, int32(1)); err != nil {
			t.Fatal(err)
		}
	}
	var entries []shm.Entry
	var old []content
	for e := range s.Entries() {
		entries, old = append(entries, e), append(old, contentOf(e))
	}
	one := contentOf(entries[0]).bytes
	r := Result{Language: "C"}
	r.compare(entries, old, []answer{
		{Name: "same", Fields: map[string]any{"offset": entries[0].Offset, "length": "0"}, Contents: one},
		{Name: "offset", Fields: map[string]any{"offset": "7"}},
		{Name: "bytes", Contents: []byte{2, 2, 2, 2}},
		{Name: "unreadable", Problem: "it is odd"},
	})
	var names []string
	for _, d := range r.Different {
		names = append(names, d.Value)
	}
	if got := strings.Join(names, " "); got != "offset bytes unreadable absent" || r.Values != 4 || r.Contents != 1 {
		t.Errorf("%+v", r)
	}
}

// TestWithoutTools says what it cannot compare.
func TestWithoutTools(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	s, err := shm.Anonymous(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got := Compare(t.Context(), s, "/nothing")
	if got[0].Skipped != "no python3" || !strings.HasPrefix(got[1].Skipped, "no gcc") {
		t.Errorf("%+v", got)
	}
}
