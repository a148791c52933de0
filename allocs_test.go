//go:build linux

package shm_test

import (
	"testing"

	"example.org/shm"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
)

// No verb allocates memory, except those that return a string.
func TestNothingAllocates(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector's own")
	}
	s := open(t, shmtest.Name(t), nil)
	type flagged struct {
		A [100]int64
		B bool
		C [3]int8
	}
	v := shmtest.Must(shm.NewStruct(s, "v", flagged{}))(t)
	small := shmtest.Must(shm.NewStruct(s, "small", complex(0, 0)))(t)
	raw := shmtest.Must(shm.NewRawStruct(s, "raw", flagged{}))(t)
	text := shmtest.Must(shm.NewString(s, "text", 16))(t)
	a := shmtest.Must(shm.NewArray[int32](s, "array", 16))(t)
	n := shmtest.Must(shm.NewValue(s, "n", int64(0)))(t)
	ring := shmtest.Must(shm.NewRing[flagged](s, "ring", 16))(t)
	reader := ring.Reader()
	var x flagged
	ring.Append(x) // Next waits for one, and the verbs come in any order
	for what, f := range map[string]func(){
		"Struct.Load":    func() { x = v.Load() },
		"Struct.Store":   func() { v.Store(x) },
		"Struct.LoadTo":  func() { v.LoadTo(&x); v.StoreFrom(&x) },
		"Ring.Append":    func() { ring.Append(x); x, _, _ = ring.Last() },
		"Ring.Next":      func() { x, _, _ = reader.From(0).Next(t.Context()) },
		"Struct.Update":  func() { v.Update(func(p *flagged) { p.A[0]++ }) },
		"complex":        func() { small.Store(small.Load() + 1) },
		"RawStruct":      func() { raw.Set(raw.Get()) },
		"String.Store":   func() { _ = text.Store("sixteen bytes ok") },
		"Array":          func() { a.Store(3, a.Load(2)+a.Add(1, 1)) },
		"Array.WithLock": func() { a.WithLock(func(s []int32) { s[0]++ }) },
		"Value":          func() { n.Store(n.Load() + n.Add(1)) },
		"Value.Update":   func() { n.Update(func(i int64) int64 { return i + 1 }) },
		//lint:ignore SA2001 that it can be taken is what is tested
		"Mutex": func() { v.Mutex().Lock(); v.Mutex().Unlock() },
	} {
		if allocs := testing.AllocsPerRun(100, f); allocs != 0 {
			t.Errorf("%s allocates %v times", what, allocs)
		}
	}
	if allocs := testing.AllocsPerRun(100, func() { text.Load() }); allocs > 1 {
		t.Errorf("String.Load allocates %v times", allocs)
	}
}
