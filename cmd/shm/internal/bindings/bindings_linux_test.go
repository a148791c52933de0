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
