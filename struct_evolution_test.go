//go:build linux

package shm_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/layout"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// Versions of one type. Each appends fields to the one before, and set sets only those
// that it appends.
type (
	grow1 struct {
		A int64
		B int8
	}
	grow2 struct {
		A int64
		B int8
		C int8 // in the tail padding of grow1
		D int64
	}
	grow3 struct {
		A int64
		B int8
		C int8
		D int64
		E [4]float64
	}
	// another successor of grow1
	grow2b struct {
		A int64
		B int8
		X float64
	}
)

func (g *grow1) set(n int64) { g.A, g.B = n, int8(n) }

func (g *grow2) set(n int64) { g.C, g.D = int8(n), n }

func (g *grow3) set(n int64) { g.E = [4]float64{float64(n), 0, 0, float64(n)} }

func (g *grow2b) set(n int64) { g.X = float64(n) }

type settable[T any] interface {
	*T
	set(n int64)
}

// growServer attaches as one version of the type, and does what it reads.
func growServer[T any, P settable[T]](s *shm.Segment) error {
	v, err := shm.NewStruct(s, "g", *new(T))
	var mismatch *shm.LayoutError
	if errors.As(err, &mismatch) {
		fmt.Println("LayoutError")
		return nil
	}
	if err != nil {
		return err
	}
	fmt.Println("attached")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var n int64
		command, rest, _ := strings.Cut(in.Text(), " ")
		if _, err := fmt.Sscan(rest, &n); err != nil && rest != "" {
			return err
		}
		switch command {
		case "update":
			v.Update(func(x *T) { P(x).set(n) })
		case "store":
			x := v.Load()
			P(&x).set(n)
			v.Store(x)
		case "count": // n updates
			for i := range n {
				v.Update(func(x *T) { P(x).set(i + 1) })
			}
		}
		fmt.Println(v.Load())
	}
	return nil
}

var upgrader = shmtest.Helper("upgrader", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	if len(args) > 2 { // several upgraders begin at the same time
		fmt.Println("ready")
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
			return err
		}
	}
	switch args[1] {
	case "1":
		return growServer[grow1](s)
	case "2":
		return growServer[grow2](s)
	case "2b":
		return growServer[grow2b](s)
	}
	return growServer[grow3](s)
})

// growths returns how often values of a segment have grown: each time there is a
// record more.
func growths(t *testing.T, s *shm.Segment) (n int) {
	t.Helper()
	memory := agent.Map(t, s)
	used, _ := mem.At[format.Header](memory, 0).Used.Bytes()
	layouts := map[string]*layout.Layout{}
	for off := int64(format.HeaderSize); off < used; {
		r, size, err := format.Decode(memory.Bytes, off, used, layouts)
		if err != nil {
			t.Fatal(err)
		}
		if r.Kind == format.KindGrowth {
			n++
		}
		off += size
	}
	return n
}

func TestStructGrows(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	old := shmtest.Must(shm.NewStruct(s, "g", grow1{1, 2}))(t)
	p2 := shmtest.Start(t, upgrader, name, "2")
	p2.Expect("attached")
	ask := func(p *shmtest.Process, command, want string) {
		t.Helper()
		p.Say(command)
		p.Expect(want)
	}
	ask(p2, "load", "{1 2 0 0}")
	ask(p2, "update 3", "{1 2 3 3}")
	// The shorter type keeps the fields that it does not know.
	old.Store(grow1{4, 5})
	ask(p2, "load", "{4 5 3 3}")
	old.Update(func(g *grow1) { g.A++ })
	ask(p2, "store 6", "{5 5 6 6}")
	if got := old.Load(); got != (grow1{5, 5}) {
		t.Fatalf("%+v", got)
	}
	// A third version finds what the second one has left.
	p3 := shmtest.Start(t, upgrader, name, "3")
	p3.Expect("attached")
	ask(p3, "update 7", "{5 5 6 6 [7 0 0 7]}")
	old.Store(grow1{8, 9})
	ask(p2, "update 10", "{8 9 10 10}")
	old.Store(grow1{11, 12})
	ask(p3, "load", "{11 12 10 10 [7 0 0 7]}")
	// The oldest version comes last, in a process that reads the directory anew.
	p1 := shmtest.Start(t, upgrader, name, "1")
	p1.Expect("attached")
	ask(p1, "update 13", "{13 13}")
	ask(p3, "load", "{13 13 10 10 [7 0 0 7]}")
	if e, ok := s.Lookup("g"); !ok || len(e.Layout.Fields) != 5 || growths(t, s) != 2 {
		t.Errorf("%+v, %v, %d growths", e, ok, growths(t, s))
	}
}

func TestTailPaddingStartsFromZero(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	var init grow1
	dirty := mem.BytesOf(&init)
	for i := range dirty {
		dirty[i] = 0xff // the padding too, as on a stack
	}
	old := shmtest.Must(shm.NewStruct(s, "g", init))(t)
	grown := shmtest.Must(shm.NewStruct(s, "g", grow2{}))(t)
	for range 2 {
		if got := grown.Load(); got != (grow2{A: -1, B: -1}) {
			t.Fatalf("%+v", got)
		}
		old.Store(init)
	}
}

func TestStructThatDoesNotGrow(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	v := shmtest.Must(shm.NewStruct(s, "g", grow1{1, 2}))(t)
	shmtest.Must(shm.NewRawStruct(s, "raw", grow1{}))(t)
	shmtest.Must(shm.NewStruct(s, "number", complex(1, 2)))(t)
	type wide struct {
		A int64
		B int8
		C [7]int64
	}
	type wider struct {
		wide
		D int64
	}
	type longest struct { // to the last byte of 64
		A int64
		B int8
		C [6]int64
	}
	for what, c := range map[string]struct {
		err    error
		reason string
	}{
		"too long":       {shmtest.Error(shm.NewStruct(s, "g", wide{})), fmt.Sprintf("room for 64 bytes and it takes %[1]d; the type that made the value decides the room: half as much again as it takes, so give it a field to spare, such as Spare [64]byte, or the option room=%[1]d,", unsafe.Sizeof(wide{}))},
		"nested":         {shmtest.Error(shm.NewStruct(s, "g", wider{})), "may only have fields appended"},
		"renamed":        {shmtest.Error(shm.NewStruct(s, "g", struct{ A, Z int64 }{})), "may only have fields appended"},
		"retyped":        {shmtest.Error(shm.NewStruct(s, "g", struct{ A, B int64 }{})), "may only have fields appended"},
		"inserted":       {shmtest.Error(shm.NewStruct(s, "g", struct{ A, N, B int64 }{})), "may only have fields appended"},
		"reordered":      {shmtest.Error(shm.NewStruct(s, "g", struct{ B, A int64 }{})), "may only have fields appended"},
		"number":         {shmtest.Error(shm.NewStruct(s, "g", int64(0))), "may only have fields appended"},
		"raw":            {shmtest.Error(shm.NewRawStruct(s, "raw", grow2{})), ""},
		"raw of another": {shmtest.Error(shm.NewRawStruct(s, "g", grow1{})), ""},
		"of a number":    {shmtest.Error(shm.NewStruct(s, "number", grow1{})), "may only have fields appended"},
		"array":          {shmtest.Error(shm.NewRawArray[int64](s, "g", 1)), ""},
	} {
		var mismatch *shm.LayoutError
		if !errors.As(c.err, &mismatch) || mismatch.Name == "" || !strings.Contains(c.err.Error(), c.reason) {
			t.Errorf("%s: %v", what, c.err)
		}
	}
	if growths(t, s) != 0 || v.Load() != (grow1{1, 2}) {
		t.Error("something was changed")
	}
	if _, err := shm.NewStruct(s, "g", longest{}); err != nil {
		t.Error(err)
	}
}

// The record of a growth may be smaller than the slots.
func TestBigStructGrows(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	type big struct{ A [100 << 10]byte }
	type bigger struct {
		A [100 << 10]byte
		B [50 << 10]byte
	}
	old := shmtest.Must(shm.NewStruct(s, "g", big{}))(t)
	grown := shmtest.Must(shm.NewStruct(s, "g", bigger{}))(t)
	for i, change := range []func(){
		func() { old.Update(func(b *big) { b.A[0] = 0 }) },
		func() { old.Store(big{A: [100 << 10]byte{1}}) },
		func() { old.Store(big{A: [100 << 10]byte{2}}) },
	} {
		grown.Update(func(b *bigger) { b.B[len(b.B)-1] = byte(i + 1) })
		change()
		if got := grown.Load(); got.B[len(got.B)-1] != byte(i+1) || got.A[0] != byte(i) {
			t.Errorf("change %d: a field was lost", i)
		}
	}
}

func TestReadOnlyNewerType(t *testing.T) {
	name := shmtest.Name(t)
	v := shmtest.Must(shm.NewStruct(open(t, name, nil), "g", grow1{1, 2}))(t)
	ro := open(t, name, &shm.Options{ReadOnly: true})
	newer := shmtest.Must(shm.NewStruct(ro, "g", grow2{}))(t)
	if got := newer.Load(); got != (grow2{A: 1, B: 2}) || growths(t, ro) != 0 {
		t.Fatalf("%+v, %d growths", got, growths(t, ro))
	}
	v.Store(grow1{3, 4})
	if got := newer.Load(); got != (grow2{A: 3, B: 4}) {
		t.Fatalf("%+v", got)
	}
	shmtest.Must(shm.NewStruct(open(t, name, nil), "g", grow2{}))(t).Store(grow2{5, 6, 7, 8})
	if got := newer.Load(); got != (grow2{5, 6, 7, 8}) {
		t.Fatalf("%+v", got)
	}
}
