//go:build linux

package shm_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// An Entry shows and sets a table row by row, and shows each lock.
func TestEntryOfMany(t *testing.T) {
	s, ms := places(t, 3)
	tab := shmtest.Must(shm.NewTable[grow1](s, "t", 3))(t)
	numbers := shmtest.Must(shm.NewTable[int32](s, "numbers", 4))(t)
	tab.Row(1).Store(grow1{5, 6})
	e, _ := s.Lookup("t")
	const want = "[{A: 0, B: 0}, {A: 5, B: 6}, {A: 0, B: 0}]"
	if got := e.Text(); got != want || e.Len != 3 || e.Size != 48 {
		t.Errorf("%s, %d rows of %d bytes", got, e.Len, e.Size)
	}
	row := map[string]any{"A": int64(5), "B": int8(6)}
	if got, ok := e.Any().([]map[string]any); !ok || len(got) != 3 || !reflect.DeepEqual(got[1], row) {
		t.Errorf("%#v", e.Any())
	}
	before, _, _ := commits(t, tab)
	for _, c := range []struct {
		text  string
		check func() bool
	}{
		{"[2: {A: 7}]", func() bool { return tab.Row(2).Load() == grow1{7, 0} }},
		{`[{"A": 1, "B": 1}, {"A": 2, "B": 2}, {"A": 3, "B": 3}]`, func() bool { return tab.Row(0).Load() == grow1{1, 1} && tab.Row(2).Load() == grow1{3, 3} }},
		{want, func() bool { return tab.Row(0).Load() == grow1{} && tab.Row(1).Load() == grow1{5, 6} }},
	} {
		if err := e.Parse(c.text); err != nil || !c.check() {
			t.Errorf("%s: %v, %v", c.text, e.Text(), err)
		}
	}
	if after, _, _ := commits(t, tab); after == before {
		t.Error("Parse has committed nothing")
	}
	n, _ := s.Lookup("numbers")
	if err := n.Parse("[1, 2, 3, 4]"); err != nil || numbers.Row(3).Load() != 4 || n.Text() != "[1, 2, 3, 4]" {
		t.Errorf("numbers are %s, %v", n.Text(), err)
	}
	err := n.UpdateContext(t.Context(), func(old any) (string, error) { return fmt.Sprintf("[1: %d]", old.([]int32)[3]+1), nil })
	if err != nil || numbers.Row(1).Load() != 5 || numbers.Row(2).Load() != 3 {
		t.Errorf("numbers are %s, %v", n.Text(), err)
	}
	for _, text := range []string{"[1]", "[5: 1]", "7", "[1: x]"} {
		if err := n.Parse(text); !errors.Is(err, fs.ErrInvalid) || n.Text() != "[1, 5, 3, 4]" {
			t.Errorf("%s: %v, %s", text, err, n.Text())
		}
	}
	numbers.Row(2).Mutex().Lock()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	err = n.UpdateContext(ctx, func(any) (string, error) { return "[2: 9]", nil })
	if !errors.Is(err, context.DeadlineExceeded) || numbers.Row(2).Load() != 3 {
		t.Errorf("a row that is locked: %v", err)
	}
	numbers.Row(2).Mutex().Unlock()
	go numbers.Row(0).Store(77)
	if err := n.Await(t.Context(), func(v any) bool { return v.([]int32)[0] == 77 }); err != nil {
		t.Error(err)
	}

	ms.At(1).Lock()
	p, _ := s.Lookup("places")
	if got := p.Text(); !strings.HasPrefix(got, "[free, held by ") || !strings.HasSuffix(got, ", free]") || p.Any() != nil {
		t.Errorf("%s, %v", got, p.Any())
	}
	held := ""
	for i, l := range p.Locks() {
		held += fmt.Sprint(i, l.Held, " ")
	}
	if first, ok := p.Lock(); held != "0 false 1 true 2 false " || first.Held || !ok {
		t.Errorf("%s, the first one is held: %v", held, first.Held)
	}
	if err := p.Parse("free"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("Parse of locks: %v", err)
	}
	for range e.Locks() {
		break
	}
	raw := shmtest.Must(shm.NewRawValue(s, "raw", 1.5))(t)
	raw.Set(raw.Get())
	r, _ := s.Lookup("raw")
	for range r.Locks() {
		t.Error("a raw value has a lock")
	}
}

// commits returns the numbers of the newest commits of three rows.
func commits(t *testing.T, tab shm.Table[grow1]) (a, b, c uint64) {
	t.Helper()
	var all [3]uint64
	for i := range all {
		for n := range tab.Row(i).Changes(t.Context()) {
			all[i] = n
			break
		}
	}
	return all[0], all[1], all[2]
}
