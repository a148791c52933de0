//go:build linux

package shm_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

type handles struct {
	Raw    shm.RawValue[int8]       `shm:"raw,unit=parts"`
	Value  shm.Value[time.Duration] `shm:"wait,unit=ns,help=how long, at most, a=b: \"now\""`
	Atomic shm.Atomic[uint32]       `shm:",hint=counter,help="`
	Raws   shm.RawArray[float64]    `shm:"raws,len=3"`
	Array  shm.Array[int16]         `shm:"array,len=5,unit=°C,hint=gauge,help=of each room"`
	Record shm.RawStruct[[16]byte]  `shm:"uuid"`
	Struct shm.Struct[pair]         // has the field's name
	Chars  shm.CharArray            `shm:"chars,unit=bytes,len=7"`
	Text   shm.String               `shm:"text,len=9"`
	Lock   *shm.Mutex               `shm:"lock,help=of all that"`
	hidden sync.Mutex               // left alone
	note   string                   `shm:"what,ever=1"`
	//lint:ignore U1000 Bind leaves it alone
	funcs map[string]func() error // neither a handle nor comparable
}

var binder = shmtest.Helper("binder", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	for e := range s.Entries() {
		fmt.Printf("%s|%s|%s|%s|%d|%s\n", e.Name, e.Unit, e.Hint, e.Help, e.Len, e.Access)
	}
	var h struct {
		Value shm.Value[time.Duration] `shm:"wait"`
		Array shm.Array[int16]         `shm:"array"` // the length found
		Text  shm.String               `shm:"text"`
	}
	if err := shm.Bind(s, &h); err != nil {
		return err
	}
	fmt.Println(h.Value.Add(time.Second), h.Array.Len(), h.Array.Load(4), h.Text.Load())
	return nil
})

func TestBind(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	var h handles
	h.note = "mine"
	h.hidden.Lock() // a copy of it would stay locked
	if err := shm.Bind(s, &h); err != nil {
		t.Fatal(err)
	}
	h.hidden.Unlock()
	h.Raw.Set(1)
	h.Value.Store(time.Minute)
	h.Atomic.Add(2)
	h.Raws.Set(2, 3)
	h.Array.Store(4, 4)
	h.Record.Set([16]byte{5})
	h.Struct.Update(func(p *pair) { p.A = 6 })
	h.Lock.Lock()
	//lint:ignore SA2001 that it can be taken is what is tested
	h.Lock.Unlock()
	if err := errors.Join(h.Chars.SetValue("seven77"), h.Text.Store("ninebytes")); err != nil {
		t.Fatal(err)
	}
	if h.note != "mine" {
		t.Error("an unexported field was touched")
	}
	p := shmtest.Start(t, binder, name)
	for _, want := range []string{
		"raw|parts|||0|raw",
		`wait|ns|duration|how long, at most, a=b: "now"|0|locked`,
		"Atomic||counter||0|atomic",
		"raws||||3|raw",
		"array|°C|gauge|of each room|5|locked",
		"uuid||||0|raw",
		"Struct||||0|published",
		"chars|bytes|||7|raw",
		"text||||9|published",
		"lock|||of all that|0|locked",
		"1m1s 5 4 ninebytes",
	} {
		p.Expect(want)
	}
	p.Wait()
	var again handles
	if err := shm.Bind(open(t, name, &shm.Options{ReadOnly: true}), &again); err != nil {
		t.Fatal(err)
	}
	if again.Value.Load() != 61*time.Second || again.Struct.Load().A != 6 || again.Atomic.Load() != 2 || again.Record.Get()[0] != 5 || again.Raws.Get(2) != 3 {
		t.Error("what was bound again has other values")
	}
}

func TestBindRefuses(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	shmtest.Must(shm.NewRawValue(s, "taken", int64(0)))(t)
	type good = shm.Value[int64]
	type one[T any] struct {
		Before good
		F      T
	}
	var mismatch *shm.LayoutError
	var unfit *shm.TypeError
	for what, c := range map[string]struct {
		ptr  any
		err  any // errors.Is, or errors.As where it is a pointer
		text string
	}{
		"int":            {&one[int]{}, fs.ErrInvalid, "F: "},
		"pointer":        {&one[*shm.Value[int64]]{}, fs.ErrInvalid, "is not a handle"},
		"mutex by value": {&one[shm.Mutex]{}, fs.ErrInvalid, "is not a handle"},
		"segment":        {&one[*shm.Segment]{}, fs.ErrInvalid, "is not a handle"},
		"nested":         {&one[one[good]]{}, fs.ErrInvalid, "is not a handle"},
		"interface":      {&one[any]{}, fs.ErrInvalid, "is not a handle"},
		"a struct that embeds a handle": {&one[struct {
			good
			Other good
		}]{}, fs.ErrInvalid, "call Bind for it"},
		"no bounds": {&one[shm.Histogram]{}, fs.ErrNotExist, "`shm:\"F,bounds=0.1;0.5;1\"`"},
		"hint": {&struct {
			F good `shm:"f,hint=many"`
		}{}, fs.ErrInvalid, "the hints are"},
		"unfit":     {&one[shm.Struct[string]]{}, &unfit, "F: "},
		"no length": {&one[shm.String]{}, fs.ErrNotExist, "F: "},
		"len on a number": {&struct {
			F shm.Value[int8] `shm:"f,len=3"`
		}{}, fs.ErrInvalid, "no length"},
		"len on a struct": {&struct {
			F shm.Struct[pair] `shm:"f,len=3"`
		}{}, fs.ErrInvalid, "no length"},
		"len on a mutex": {&struct {
			F *shm.Mutex `shm:"f,len=3"`
		}{}, fs.ErrInvalid, "no length"},
		"len of nothing": {&struct {
			F shm.String `shm:"f,len="`
		}{}, fs.ErrInvalid, `"len="`},
		"len of zero": {&struct {
			F shm.String `shm:"f,len=0"`
		}{}, fs.ErrInvalid, `"len=0"`},
		"negative len": {&struct {
			F shm.String `shm:"f,len=-1"`
		}{}, fs.ErrInvalid, `"len=-1"`},
		"len of words": {&struct {
			F shm.String `shm:"f,len=x"`
		}{}, fs.ErrInvalid, `"len=x"`},
		"len twice": {&struct {
			F shm.String `shm:"f,len=1,len=2"`
		}{}, fs.ErrInvalid, "twice"},
		"bounds beside room": {&struct {
			F shm.Struct[struct{ A int64 }] `shm:"f,room=64,bounds=1"`
		}{}, fs.ErrInvalid, "which has no bounds"},
		"no room": {&struct {
			F shm.Struct[struct{ A int64 }] `shm:"f,room=0"`
		}{}, fs.ErrInvalid, `"room=0"`},
		"negative room": {&struct {
			F shm.Struct[struct{ A int64 }] `shm:"f,room=-64"`
		}{}, fs.ErrInvalid, `"room=-64"`},
		"too little room": {&struct {
			F shm.Struct[struct{ A [9]int64 }] `shm:"f,room=64"`
		}{}, fs.ErrInvalid, "the type takes 72"},
		"too much room": {&struct {
			F shm.Struct[struct{ A int64 }] `shm:"f,room=1099511627776"`
		}{}, fs.ErrInvalid, "room for 1099511627776 bytes"},
		"room for a number": {&struct {
			F shm.Value[int64] `shm:"f,room=64"`
		}{}, fs.ErrInvalid, "does not grow"},
		"room for what does not grow": {&struct {
			F shm.Struct[[4]int64] `shm:"f,room=64"`
		}{}, fs.ErrInvalid, "[4]int64, which does not grow"},
		"option": {&struct {
			F good `shm:"f,color=red"`
		}{}, fs.ErrInvalid, `"color=red"`},
		"empty option": {&struct {
			F good `shm:"f,"`
		}{}, fs.ErrInvalid, `""`},
		"unit of nothing": {&struct {
			F good `shm:"f,unit"`
		}{}, fs.ErrInvalid, `"unit"`},
		"char": {&struct {
			F shm.String `shm:"f,char"`
		}{}, fs.ErrInvalid, `"char"`},
		"left out": {&struct {
			F good `shm:"-"`
		}{}, fs.ErrInvalid, "left out"},
		"a name twice": {&struct {
			A, B good
			F    good `shm:"A"`
		}{}, fs.ErrInvalid, "field A has the name"},
		"bad name": {&struct {
			F good "shm:\"a\\nb\""
		}{}, fs.ErrInvalid, "F: "},
		"taken": {&struct {
			F good `shm:"taken"`
		}{}, &mismatch, "F: "},
		"not a pointer": {one[good]{}, fs.ErrInvalid, "not a pointer"},
		"nil":           {nil, fs.ErrInvalid, "not a pointer"},
		"nil pointer":   {(*one[good])(nil), fs.ErrInvalid, "not a pointer"},
		"no struct":     {new(good), fs.ErrInvalid, "not a pointer to a struct of handles"},
		"number":        {new(int64), fs.ErrInvalid, "not a pointer"},
	} {
		err := shm.Bind(s, c.ptr)
		if err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", what, err)
			continue
		}
		switch want := c.err.(type) {
		case error:
			if !errors.Is(err, want) {
				t.Errorf("%s: %v", what, err)
			}
		default:
			if !errors.As(err, want) || !strings.Contains(err.Error(), "F: ") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if o, ok := c.ptr.(*one[int]); ok && o.Before != (good{}) {
			t.Error("the struct was changed though a field was refused")
		}
	}
	empty := open(t, shmtest.Name(t), nil)
	if err := shm.Bind(empty, &one[int]{}); err == nil || len(slices.Collect(empty.Entries())) != 0 {
		t.Errorf("a value was made before a field was refused: %v", err)
	}
	if err := shm.Bind(s, &struct{}{}); err != nil {
		t.Errorf("no handles: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := shm.Bind(s, &one[good]{}); !errors.Is(err, shm.ErrClosed) {
		t.Error(err)
	}
}

func TestBind_EmbeddedHandle(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	var h struct {
		shm.String `shm:"text,len=9"`
		Number     shm.Value[int64] `shm:"number"`
	}
	if err := shm.Bind(s, &h); err != nil {
		t.Fatal(err)
	}
	if err := h.Store("embedded"); err != nil || h.Number.Add(1) != 1 {
		t.Errorf("number %d, error %v", h.Number.Load(), err)
	}
	if e, ok := s.Lookup("text"); !ok || e.Text() != `"embedded"` {
		t.Errorf("the embedded handle has no value of its name: %v", e)
	}
}

// A value that was made with room grows as often as it fits, and keeps its room whatever
// a later program asks for.
func TestBindRoom(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	var roomy struct {
		G shm.Struct[grow1] `shm:"g,room=1000"`
	}
	if err := shm.Bind(s, &roomy); err != nil {
		t.Fatal(err)
	}
	roomy.G.Store(grow1{1, 2})
	if got := shmtest.Must(shm.NewStruct(s, "g", grow3{}))(t).Load(); got.A != 1 || got.B != 2 {
		t.Errorf("%+v", got)
	}
	var again struct {
		G shm.Struct[grow3] `shm:"g,room=9000"`
	}
	if err := shm.Bind(s, &again); err != nil {
		t.Fatal(err)
	}
	var mismatch *shm.LayoutError
	if err := shmtest.Error(shm.NewStruct(s, "g", struct {
		A int64
		B int8
		C int8
		D int64
		E [4]float64
		F [128]int64
	}{})); !errors.As(err, &mismatch) || !strings.Contains(err.Error(), "room for 1024 bytes") {
		t.Errorf("beyond the room: %v", err)
	}
	if err := shmtest.Error(shm.NewStruct(s, "g", struct {
		A int64
		B int8
		C int8
		D int64
		E [4]float64
		F [121]int64
	}{})); err != nil {
		t.Errorf("up to the room: %v", err)
	}
}

// The rows of a table that was made with room grow as often as they fit, all together.
func TestBindRoomOfTable(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	var first struct {
		T shm.Table[grow1] `shm:"t,len=3,room=192"`
	}
	if err := shm.Bind(s, &first); err != nil {
		t.Fatal(err)
	}
	for i := range first.T.Len() {
		first.T.Row(i).Store(grow1{int64(i), int8(10 + i)})
	}
	second := shmtest.Must(shm.NewTable[grow3](s, "t", 0))(t)
	second.Row(1).Update(func(p *grow3) { p.D, p.E[3] = 5, 6 })
	type fourth struct {
		A    int64
		B, C int8
		D    int64
		E    [4]float64
		F    [16]int64
	}
	third := shmtest.Must(shm.NewTable[fourth](open(t, name, nil), "t", 3))(t)
	third.Row(1).Update(func(p *fourth) { p.F[15] = 7 })
	first.T.Row(1).Update(func(p *grow1) { p.A++ }) // by a program that knows the first fields only
	if got, want := third.Row(1).Load(), (fourth{A: 2, B: 11, D: 5, E: [4]float64{3: 6}, F: [16]int64{15: 7}}); got != want {
		t.Errorf("row 1 is %+v, want %+v", got, want)
	}
	if got, want := third.Row(2).Load(), (fourth{A: 2, B: 12}); got != want {
		t.Errorf("row 2 is %+v, want %+v", got, want)
	}
	var mismatch *shm.LayoutError
	if err := shmtest.Error(shm.NewTable[struct {
		A    int64
		B, C int8
		D    int64
		E    [4]float64
		F    [16]int64
		G    [2]int64
	}](s, "t", 3)); !errors.As(err, &mismatch) {
		t.Errorf("beyond the room: %v", err)
	}
}
