//go:build linux

package shm

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Versions of one type: each appends to the one before, and set sets its own
// fields only.
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

func (g *grow1) set(n int64)  { g.A, g.B = n, int8(n) }
func (g *grow2) set(n int64)  { g.C, g.D = int8(n), n }
func (g *grow3) set(n int64)  { g.E = [4]float64{float64(n), 0, 0, float64(n)} }
func (g *grow2b) set(n int64) { g.X = float64(n) }

type settable[T any] interface {
	*T
	set(n int64)
}

// growServer attaches as one version and does what its standard input says.
func growServer[T any, P settable[T]](s *Segment) error {
	v, err := NewStruct(s, "g", *new(T))
	var mismatch *LayoutError
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
		case "count": // as many updates, one at a time
			for i := range n {
				v.Update(func(x *T) { P(x).set(i + 1) })
			}
		}
		fmt.Println(v.Load())
	}
	return nil
}

var upgrader = helper("upgrader", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	if len(args) > 2 { // all at once
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

// growths counts the records of growth in a segment.
func growths(t *testing.T, s *Segment) (n int) {
	t.Helper()
	m := s.m.Load()
	used, _ := m.used.bytes()
	layouts := map[string]*Layout{}
	for off := int64(headerSize); off < used; {
		r, size, err := decode(m.mem, off, used, layouts)
		if err != nil {
			t.Fatal(err)
		}
		if r.kind == kindGrowth {
			n++
		}
		off += size
	}
	return n
}

func TestStructGrows(t *testing.T) {
	name := testName(t)
	s := open(t, name, nil)
	old := must(NewStruct(s, "g", grow1{1, 2}))(t)
	p2 := start(t, upgrader, name, "2")
	p2.expect("attached")
	ask := func(p *process, command, want string) {
		t.Helper()
		p.say(command)
		p.expect(want)
	}
	ask(p2, "load", "{1 2 0 0}")
	ask(p2, "update 3", "{1 2 3 3}")
	// The shorter type knows nothing of it, and keeps it.
	old.Store(grow1{4, 5})
	ask(p2, "load", "{4 5 3 3}")
	old.Update(func(g *grow1) { g.A++ })
	ask(p2, "store 6", "{5 5 6 6}")
	if got := old.Load(); got != (grow1{5, 5}) {
		t.Fatalf("%+v", got)
	}
	// A third version on top, which finds what the second left.
	p3 := start(t, upgrader, name, "3")
	p3.expect("attached")
	ask(p3, "update 7", "{5 5 6 6 [7 0 0 7]}")
	old.Store(grow1{8, 9})
	ask(p2, "update 10", "{8 9 10 10}")
	old.Store(grow1{11, 12})
	ask(p3, "load", "{11 12 10 10 [7 0 0 7]}")
	// The oldest comes last, in a process that reads the directory anew.
	p1 := start(t, upgrader, name, "1")
	p1.expect("attached")
	ask(p1, "update 13", "{13 13}")
	ask(p3, "load", "{13 13 10 10 [7 0 0 7]}")
	if e, ok := s.Lookup("g"); !ok || len(e.Layout.Fields) != 5 || growths(t, s) != 2 {
		t.Errorf("%+v, %v, %d growths", e, ok, growths(t, s))
	}
}

func TestTailPaddingStartsFromZero(t *testing.T) {
	name := testName(t)
	s := open(t, name, nil)
	var init grow1
	dirty := bytesOf(&init)
	for i := range dirty {
		dirty[i] = 0xff // also the padding, as it may be on a stack
	}
	old := must(NewStruct(s, "g", init))(t)
	grown := must(NewStruct(s, "g", grow2{}))(t)
	for range 2 {
		if got := grown.Load(); got != (grow2{A: -1, B: -1}) {
			t.Fatalf("%+v", got)
		}
		old.Store(init)
	}
}

func TestStructThatDoesNotGrow(t *testing.T) {
	name := testName(t)
	s := open(t, name, nil)
	v := must(NewStruct(s, "g", grow1{1, 2}))(t)
	must(NewRawStruct(s, "raw", grow1{}))(t)
	must(NewStruct(s, "number", complex(1, 2)))(t)
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
		"too long":       {second(NewStruct(s, "g", wide{})), fmt.Sprintf("room for 64 bytes and it takes %d", size[wide]())},
		"nested":         {second(NewStruct(s, "g", wider{})), "may only have fields appended"},
		"renamed":        {second(NewStruct(s, "g", struct{ A, Z int64 }{})), "may only have fields appended"},
		"retyped":        {second(NewStruct(s, "g", struct{ A, B int64 }{})), "may only have fields appended"},
		"inserted":       {second(NewStruct(s, "g", struct{ A, N, B int64 }{})), "may only have fields appended"},
		"reordered":      {second(NewStruct(s, "g", struct{ B, A int64 }{})), "may only have fields appended"},
		"number":         {second(NewStruct(s, "g", int64(0))), "may only have fields appended"},
		"raw":            {second(NewRawStruct(s, "raw", grow2{})), ""},
		"raw of another": {second(NewRawStruct(s, "g", grow1{})), ""},
		"of a number":    {second(NewStruct(s, "number", grow1{})), "may only have fields appended"},
		"array":          {second(NewRawArray[int64](s, "g", 1)), ""},
	} {
		var mismatch *LayoutError
		if !errors.As(c.err, &mismatch) || mismatch.Name == "" || !strings.Contains(c.err.Error(), c.reason) {
			t.Errorf("%s: %v", what, c.err)
		}
	}
	if growths(t, s) != 0 || v.Load() != (grow1{1, 2}) {
		t.Error("something was changed")
	}
	if _, err := NewStruct(s, "g", longest{}); err != nil {
		t.Error(err)
	}
}

// TestBigStructGrows: the record of the growth is smaller than the slots.
func TestBigStructGrows(t *testing.T) {
	name := testName(t)
	s := open(t, name, nil)
	type big struct{ A [100 << 10]byte }
	type bigger struct {
		A [100 << 10]byte
		B [50 << 10]byte
	}
	old := must(NewStruct(s, "g", big{}))(t)
	grown := must(NewStruct(s, "g", bigger{}))(t)
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
	name := testName(t)
	v := must(NewStruct(open(t, name, nil), "g", grow1{1, 2}))(t)
	ro := open(t, name, &Options{ReadOnly: true})
	newer := must(NewStruct(ro, "g", grow2{}))(t)
	if got := newer.Load(); got != (grow2{A: 1, B: 2}) || growths(t, ro) != 0 {
		t.Fatalf("%+v, %d growths", got, growths(t, ro))
	}
	v.Store(grow1{3, 4})
	if got := newer.Load(); got != (grow2{A: 3, B: 4}) {
		t.Fatalf("%+v", got)
	}
	must(NewStruct(open(t, name, nil), "g", grow2{}))(t).Store(grow2{5, 6, 7, 8})
	if got := newer.Load(); got != (grow2{5, 6, 7, 8}) {
		t.Fatalf("%+v", got)
	}
}

// TestGrowersAgree has several processes make a value grow at once.
func TestGrowersAgree(t *testing.T) {
	for _, versions := range [][]string{{"2", "2", "2", "2"}, {"2", "2b", "2", "2b"}, {"2", "3", "2", "3", "1"}} {
		t.Run(strings.Join(versions, ","), func(t *testing.T) {
			for range 5 {
				name := testName(t)
				s := open(t, name, nil)
				must(NewStruct(s, "g", grow1{1, 2}))(t)
				var all []*process
				for _, version := range versions {
					p := start(t, upgrader, name, version, "together")
					p.expect("ready")
					all = append(all, p)
				}
				for _, p := range all {
					p.say("")
				}
				said := map[string]map[string]bool{}
				for i, p := range all {
					if said[versions[i]] == nil {
						said[versions[i]] = map[string]bool{}
					}
					said[versions[i]][p.line()] = true
					if err := p.stdin.Close(); err != nil {
						t.Fatal(err)
					}
					p.wait()
				}
				for version, lines := range said {
					if len(lines) != 1 {
						t.Fatalf("version %s: %v", version, said)
					}
				}
				if said["2b"] != nil && said["2"]["attached"] == said["2b"]["attached"] {
					t.Fatalf("%v", said)
				}
				if said["3"] != nil && (!said["2"]["attached"] || !said["3"]["attached"]) {
					t.Fatalf("%v", said)
				}
				// The third version may come before the second, which then has its place.
				if n := growths(t, s); n != 1 && (said["3"] == nil || n != 2) {
					t.Fatalf("%d growths of %v", n, said)
				}
			}
		})
	}
}

// TestRollingUpgrade has processes of three versions count at once, each its
// own fields: nobody's counts are lost.
func TestRollingUpgrade(t *testing.T) {
	name := testName(t)
	s := open(t, name, nil)
	must(NewStruct(s, "g", grow1{}))(t)
	const updates = 20000
	var all []*process
	for _, version := range []string{"1", "2", "3"} {
		p := start(t, upgrader, name, version)
		p.expect("attached")
		p.say(fmt.Sprint("count ", updates)) // the older ones go on meanwhile
		all = append(all, p)
	}
	for _, p := range all {
		p.line()
	}
	want := grow3{A: updates, B: int8(updates & 0xff), C: int8(updates & 0xff), D: updates, E: [4]float64{updates, 0, 0, updates}}
	if got := must(NewStruct(s, "g", grow3{}))(t).Load(); got != want {
		t.Fatalf("%+v, want %+v", got, want)
	}
}

// TestRollingUpgradeOfTwoPrograms builds two versions of a server and upgrades
// it while it serves.
func TestRollingUpgradeOfTwoPrograms(t *testing.T) {
	tool, err := exec.LookPath("go")
	if err != nil || testing.Short() {
		t.Skip("it needs the go tool, and time to build")
	}
	module := must(os.Getwd())(t)
	dir := t.TempDir()
	build := func(version string) string {
		overlay := map[string]map[string]string{"Replace": {}}
		for _, file := range []string{"main.go", version + ".go"} {
			overlay["Replace"][filepath.Join(module, "internal/rolling", file)] = filepath.Join(module, "testdata/rolling", file)
		}
		list := filepath.Join(dir, version+".json")
		if err := os.WriteFile(list, must(json.Marshal(overlay))(t), 0o600); err != nil {
			t.Fatal(err)
		}
		binary := filepath.Join(dir, version)
		if out, err := exec.Command(tool, "build", "-overlay", list, "-o", binary, "./internal/rolling").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return binary
	}
	name := testName(t)
	const each = 20000
	run := func(binary string) *process {
		cmd := exec.Command(binary, name, fmt.Sprint(each))
		cmd.Stderr = os.Stderr
		return startProgram(t, cmd)
	}
	old, new := build("old"), build("new")
	// Prefork workers: two old ones serve, and one by one new ones join and old
	// ones leave.
	workers := []*process{run(old), run(old)}
	for _, p := range workers {
		p.expect("serving")
	}
	late := run(new)
	late.expect("serving")
	for _, p := range append(workers, late) {
		p.say("go")
	}
	workers[0].expect(fmt.Sprint("served ", each))
	later := run(new)
	later.expect("serving")
	later.say("go")
	for _, p := range []*process{workers[1], late, later} {
		p.expect(fmt.Sprint("served ", each))
	}
	last := run(new)
	last.expect("serving")
	last.say("report")
	last.expect(fmt.Sprintf("requests %d bytes %d slow %d", 4*each, 4*100*each, 2*each))
}
