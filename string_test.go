//go:build linux

package shm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestString(t *testing.T) {
	name := testName(t)
	s := open(t, name, nil)
	v := must(NewString(s, "v", 8))(t)
	neighbour := must(NewString(s, "neighbour", 8))(t)
	if err := neighbour.Store("neighbor"); err != nil {
		t.Fatal(err)
	}
	ro := must(NewString(open(t, name, &Options{ReadOnly: true}), "v", 0))(t)
	if v.Load() != "" || v.Cap() != 8 || ro.Cap() != 8 {
		t.Fatalf("it starts as %q, %d, %d", v.Load(), v.Cap(), ro.Cap())
	}
	for _, text := range []string{"a", "exactly8", "", "exactly8", "bc", "é\xff\n", "seven77"} {
		if err := v.Store(text); err != nil {
			t.Fatal(err)
		}
		if v.Load() != text || ro.Load() != text {
			t.Fatalf("%q has become %q, %q", text, v.Load(), ro.Load())
		}
		for text, want := range map[string]error{
			"nine byte": ErrTooLong, "a\x00b": fs.ErrInvalid, "\x00": fs.ErrInvalid, "exactly\x00": fs.ErrInvalid,
			strings.Repeat("x", 1000): ErrTooLong,
		} {
			if err := v.Store(text); !errors.Is(err, want) || !strings.Contains(err.Error(), `"v"`) {
				t.Errorf("%q: %v", text, err)
			}
		}
		if v.Load() != text {
			t.Fatal("a store that failed has changed something")
		}
	}
	if neighbour.Load() != "neighbor" {
		t.Errorf("the next value is %q", neighbour.Load())
	}
}

func TestStringConstructor(t *testing.T) {
	name := testName(t)
	s := open(t, name, nil)
	must(NewString(s, "v", 8))(t)
	must(NewCharArray(s, "raw", 8))(t)
	var mismatch *LayoutError
	for what, c := range map[string]struct {
		err  error
		want error
	}{
		"negative": {second(NewString(s, "n", -1)), fs.ErrInvalid},
		"none":     {second(NewString(s, "n", 0)), fs.ErrNotExist},
		"huge":     {second(NewString(s, "n", math.MaxInt)), fs.ErrInvalid},
	} {
		if !errors.Is(c.err, c.want) && !errors.Is(c.err, ErrFull) {
			t.Errorf("%s: %v", what, c.err)
		}
	}
	for what, err := range map[string]error{
		"longer": second(NewString(s, "v", 9)), "shorter": second(NewString(s, "v", 7)), "raw": second(NewString(s, "raw", 8)),
		"the reverse": second(NewCharArray(s, "v", 8)), "array": second(NewStruct(s, "v", [8]byte{})),
	} {
		if !errors.As(err, &mismatch) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if must(NewString(s, "v", 0))(t).Cap() != 8 {
		t.Error("the length found is another")
	}
}

// TestStringIsNeverTorn stores texts of one letter each, of all lengths.
func TestStringIsNeverTorn(t *testing.T) {
	s := open(t, testName(t), nil)
	v := must(NewString(s, "v", 100))(t)
	var wg sync.WaitGroup
	for _, letter := range []string{"a", "b", "c"} {
		wg.Go(func() {
			for i := range 3000 {
				if err := v.Store(strings.Repeat(letter, i%101)); err != nil {
					t.Error(err)
				}
				if text := v.Load(); text != "" && strings.Trim(text, text[:1]) != "" {
					t.Errorf("torn: %q", text)
				}
			}
		})
	}
	wg.Wait()
}

// announcer changes what others await when it is told.
var announcer = helper("announcer", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	p, err := NewStruct(s, "p", pair{})
	if err != nil {
		return err
	}
	text, err := NewString(s, "text", 8)
	if err != nil {
		return err
	}
	if _, err := fmt.Fscanln(os.Stdin); err != nil {
		return err
	}
	p.Store(pair{A: 1})
	p.Update(func(p *pair) { p.B = 2 })
	return text.Store("done")
})

func TestAwaitOfStructAndString(t *testing.T) {
	name := testName(t)
	rw, ro := open(t, name, nil), open(t, name, &Options{ReadOnly: true})
	must(NewStruct(rw, "p", pair{}))(t)
	must(NewString(rw, "text", 8))(t)
	other := start(t, announcer, name)
	var wg sync.WaitGroup
	for _, s := range []*Segment{rw, rw, ro} {
		p, text := must(NewStruct(s, "p", pair{}))(t), must(NewString(s, "text", 0))(t)
		wg.Go(func() {
			if x, err := p.Await(t.Context(), func(p pair) bool { return p.A > 0 && p.B > 0 }); err != nil || x != (pair{A: 1, B: 2}) {
				t.Errorf("%+v, %v", x, err)
			}
		})
		wg.Go(func() {
			if x, err := text.Await(t.Context(), func(s string) bool { return s != "" }); err != nil || x != "done" {
				t.Errorf("%q, %v", x, err)
			}
		})
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			if _, err := p.Await(ctx, func(p pair) bool { return false }); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `"p"`) {
				t.Errorf("%v", err)
			}
		})
	}
	p, text := must(NewStruct(rw, "p", pair{}))(t), must(NewString(rw, "text", 0))(t)
	eventually(t, "both are awaited", func() bool {
		return p.Mutex().change.word.Load()&awaited != 0 && text.Mutex().change.word.Load()&awaited != 0
	})
	other.say("")
	wg.Wait()
	// What is true already needs no waiting, also with a context that is done.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if x, err := p.Await(ctx, func(p pair) bool { return true }); err != nil || x.B != 2 {
		t.Errorf("%+v, %v", x, err)
	}
}
