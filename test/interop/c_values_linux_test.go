package interop_test

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/layout"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

type cStatus struct {
	Hits  int64    `shm:"hits"`
	Load  float32  `shm:"load"`
	Flags [4]uint8 `shm:"flags"`
	Host  [16]byte `shm:"host,char"`
	OK    bool     `shm:"ok"`
	_     [7]byte  // explicit, so that 32-bit systems have it too
}

type cLonger struct {
	Hits  int64    `shm:"hits"`
	Load  float32  `shm:"load"`
	Flags [4]uint8 `shm:"flags"`
	Host  [16]byte `shm:"host,char"`
	OK    bool     `shm:"ok"`
	Level uint8    `shm:"level"`
	_     [6]byte
	Extra int64 `shm:"extra"`
}

type cNested struct {
	A int8 `shm:"a"`
	P [2][3]struct {
		X int16 `shm:"x"`
		Y int16 `shm:"y"`
	} `shm:"p"`
	_ [6]byte
	D float64 `shm:"d"`
	C uint8   `shm:"c"`
	_ [7]byte
}

// visitNumbers does to the numbers of a type what VISIT in c/test.c does.
func visitNumbers[T interface {
	int8 | uint8 | int16 | uint16 | int32 | uint32 | int64 | uint64 | float32 | float64
}](t *testing.T, s *shm.Segment, name string, index, k int) {
	t.Helper()
	v := shmtest.Must(shm.NewValue(s, "number-"+name, T(42+index)))(t)
	if x := v.Load(); x != T(42+index+k) {
		t.Fatalf("number-%s is %v in round %d", name, x, k)
	}
	v.Add(1)
	a := shmtest.Must(shm.NewArray[T](s, "array-"+name, 3))(t)
	for i := range a.Len() {
		if x := a.Load(i); x != T(k*(i+1)) {
			t.Fatalf("array-%s[%d] is %v in round %d", name, i, x, k)
		}
		a.Add(i, T(i+1))
	}
	raw := shmtest.Must(shm.NewRawArray[T](s, "raws-"+name, 5))(t)
	if raw.Get(4) != T(k) || raw.Get(0) != 0 {
		t.Fatalf("raws-%s is %v in round %d", name, raw.Slice(), k)
	}
	raw.Set(4, T(k+1))
}

// visit finds values of all kinds, or makes them in round 0. It checks that k
// rounds have changed them, and changes them once more. c/test.c has the same
// function.
func visit(t *testing.T, name string, k int) {
	t.Helper()
	s := shmtest.Opened(shm.Open(name, nil))(t)
	visitNumbers[int8](t, s, "i8", 0, k)
	visitNumbers[uint8](t, s, "u8", 1, k)
	visitNumbers[int16](t, s, "i16", 2, k)
	visitNumbers[uint16](t, s, "u16", 3, k)
	visitNumbers[int32](t, s, "i32", 4, k)
	visitNumbers[uint32](t, s, "u32", 5, k)
	visitNumbers[int64](t, s, "i64", 6, k)
	visitNumbers[uint64](t, s, "u64", 7, k)
	visitNumbers[float32](t, s, "f32", 8, k)
	visitNumbers[float64](t, s, "f64", 9, k)
	raw := shmtest.Must(shm.NewRawValue(s, "raw", 3.25))(t)
	if x := raw.Get(); x != 3.25+float64(k) {
		t.Fatalf("raw is %v in round %d", x, k)
	}
	raw.Set(raw.Get() + 1)
	want := cStatus{Hits: 100, Load: 0.5, Flags: [4]uint8{1, 2, 3, 4}, OK: true}
	copy(want.Host[:], "host")
	rs := shmtest.Must(shm.NewRawStruct(s, "rawstruct", want))(t)
	want.Hits += int64(k)
	if x := rs.Get(); x != want {
		t.Fatalf("rawstruct is %+v in round %d", x, k)
	}
	rs.Ptr().Hits++
	if x := shmtest.Must(shm.NewAtomic(s, "atomic", ^uint64(1)))(t).Add(1); x != ^uint64(1)+uint64(k)+1 {
		t.Fatalf("atomic is %d in round %d", x, k)
	}
	chars, text, next := shmtest.Must(shm.NewCharArray(s, "chars", 20))(t), "", fmt.Sprint("round ", k+1)
	if k > 0 {
		text = fmt.Sprint("round ", k)
	}
	if x := chars.Value(); x != text {
		t.Fatalf("chars is %q in round %d", x, k)
	}
	if err := chars.SetValue(next); err != nil {
		t.Fatal(err)
	}
	want.Hits -= int64(k)
	st := shmtest.Must(shm.NewStruct(s, "struct", want))(t)
	want.Hits, want.Load = want.Hits+int64(k), want.Load+float32(k)
	if x := st.Load(); x != want {
		t.Fatalf("struct is %+v in round %d", x, k)
	}
	st.Update(func(x *cStatus) { x.Hits++; x.Load++ })
	str := shmtest.Must(shm.NewString(s, "string", 64))(t)
	round := func(k int) string { // a text that is shorter than the String, or fills it
		return strings.Repeat(string(rune('a'+k-1)), []int{64, 7}[k%2])
	}
	text = ""
	if k > 0 {
		text = round(k)
	}
	if x := str.Load(); x != text {
		t.Fatalf("string is %q in round %d", x, k)
	}
	if err := str.Store(round(k + 1)); err != nil {
		t.Fatal(err)
	}
	mu := shmtest.Must(shm.NewMutex(s, "mutex"))(t)
	mu.Lock()
	//lint:ignore SA2001 The test is that the lock is free.
	mu.Unlock()
	for e := range s.Entries() {
		if l, ok := e.Lock(); ok && l.Held {
			t.Fatalf("%q is %v", e.Name, l)
		}
	}
}

func TestCValues(t *testing.T) {
	for first, who := range []string{"Go", "C"} {
		t.Run(who+" first", func(t *testing.T) {
			name := shmtest.Name(t)
			for k := range 5 {
				if k%2 == first {
					visit(t, name, k)
				} else {
					runC(t, "visit", name, strconv.Itoa(k))
				}
			}
		})
	}
}

func TestCStructGrows(t *testing.T) {
	name := shmtest.Name(t)
	s := shmtest.Opened(shm.Open(name, nil))(t)
	short := shmtest.Must(shm.NewStruct(s, "struct", cStatus{Hits: 1}))(t)
	p := startC(t, "grow", name)
	p.Expect("grown")
	if x := short.Load(); x.Hits != 1000 {
		t.Fatalf("the struct is %+v", x)
	}
	short.Update(func(x *cStatus) { x.Hits = 2000 })
	if x := shmtest.Must(shm.NewStruct(s, "struct", cLonger{}))(t).Load(); x.Hits != 2000 || x.Level != 5 || x.Extra != 77 {
		t.Fatalf("the longer struct is %+v", x)
	}
	p.Say("")
	p.Expect("kept")
	p.Wait()
}

// steadyWriter updates a struct until it is killed.
var steadyWriter = shmtest.Helper("steadyWriter", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := shm.NewStruct(s, "steady", cSteady{})
	if err != nil {
		return err
	}
	for {
		v.Update((*cSteady).step)
	}
})

// cCounted is the struct of the mode "overtaken" of c/test.c.
type cCounted struct {
	N uint64 `shm:"n"`
}

// A reader in C that was overtaken often enough to ask for the lock does not wait
// for the holder, as in TestReaderBesideAHolder.
func TestCReaderBesideAHolder(t *testing.T) {
	name := shmtest.Name(t)
	s := shmtest.Opened(shm.Open(name, nil))(t)
	v := shmtest.Must(shm.NewStruct(s, "v", cCounted{1}))(t)
	shape := format.Shape{Layout: shmtest.Must(layout.Of[cCounted]())(t), Access: format.Published, Kind: format.KindSingle}
	e, _ := s.Lookup("v")
	slot1 := mem.At[atomic.Uint64](agent.Map(t, s), e.Offset+format.RoundUp(shape.Room()))
	v.Mutex().Lock()
	defer v.Mutex().Unlock()
	// The reader copies the slot into the counter that names the slot. Slot 0
	// sends it to slot 1, and slot 1, which has a 0, sends it back.
	p := startC(t, "overtaken", name)
	agent.Sleeping(t, agent.Cell(t, s, "v"), false)
	slot1.Store(1) // From now on slot 1 keeps it there.
	p.Expect("read")
}

// Writers in both languages are killed all the time. Readers see no torn struct,
// and none that is older than the one before.
func TestCStructStorm(t *testing.T) {
	name := shmtest.Name(t)
	v := shmtest.Must(shm.NewStruct(shmtest.Opened(shm.Open(name, nil))(t), "steady", cSteady{}))(t)
	reader := startC(t, "reader", name)
	reader.Expect("ready")
	begin := func(i int) *shmtest.Process {
		if i == 0 {
			return startC(t, "writer", name)
		}
		return shmtest.Start(t, steadyWriter, name)
	}
	all := []*shmtest.Process{begin(0), begin(1)}
	last, kills := int64(0), 0
	for end := time.Now().Add(*shmtest.StormLength / 2); time.Now().Before(end); kills++ {
		for until := time.Now().Add(20 * time.Millisecond); time.Now().Before(until); runtime.Gosched() {
			x := v.Load()
			if !x.whole() || x.N < last {
				t.Fatalf("after %d: %v", last, x)
			}
			last = x.N
		}
		all[kills%2].Kill()
		all[kills%2] = begin(kills % 2)
	}
	reader.Say("enough")
	t.Logf("%d commits, %d kills; reads and changes in C: %s", last, kills, reader.Line())
	reader.Wait()
	for _, p := range all {
		p.Kill()
	}
	v.Update(func(x *cSteady) {
		if !x.whole() {
			t.Errorf("at the end: %v", x)
		}
	})
}

// Processes that make values are killed. The values are whole, and others can be
// made.
func TestCKilledMakers(t *testing.T) {
	name := shmtest.Name(t)
	s := shmtest.Opened(shm.Open(name, &shm.Options{MaxSize: 256 << 20}))(t)
	for i := range 12 {
		p, q := startC(t, "maker", name, strconv.Itoa(2*i)), startC(t, "maker", name, strconv.Itoa(2*i+1))
		p.Expect("ready")
		q.Expect("ready")
		time.Sleep(time.Duration(rand.IntN(int(5 * time.Millisecond))))
		p.Kill()
		var err error
		shmtest.Within(t, "a value is made beside a maker", func() { _, err = shm.NewRawValue(s, fmt.Sprint("mine ", i), int64(i)) })
		if err != nil {
			t.Fatal(err)
		}
		q.Kill()
	}
	values := 0
	for e := range s.Entries() {
		values++
		if n, _, ok := strings.Cut(e.Name, " of "); ok && e.Access == shm.AccessRaw && e.Text() != n {
			t.Fatalf("%q is %s", e.Name, e.Text())
		}
		if e.Access == shm.AccessPublished && shmtest.Must(shm.NewString(s, e.Name, 0))(t).Load() != "" {
			t.Fatalf("%q is not empty", e.Name)
		}
	}
	// Entries ends early if the directory is corrupt. A constructor reports that.
	shmtest.Must(shm.NewRawValue[int64](s, "last", 0))(t)
	t.Logf("%d values", values)
}

// Rows, locks, cells and streams in C, also with the sanitizers.
func TestCShared(t *testing.T) {
	t.Parallel()
	program := cTest(t)
	flags := []string{"-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"}
	programs := []string{program}
	if probe := exec.Command("gcc", append(flags, "-o", "/dev/null", "-x", "c", "-")...); !race.Enabled {
		probe.Stdin = strings.NewReader("int main(void) { return 0; }")
		if probe.Run() == nil {
			programs = append(programs, cTest(t, flags...))
		}
	}
	for _, program := range programs {
		if out, err := exec.Command(program, "shared", shmtest.Name(t)).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}
