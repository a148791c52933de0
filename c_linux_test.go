package shm

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// c/test.c is the other side of these tests.

// cPrograms has what was compiled, by its flags: each once.
var cPrograms sync.Map

// compileC compiles c/test.c, or skips the test where there is no compiler.
func compileC(t testing.TB, flags ...string) (program string) {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc is not installed")
	}
	type result struct {
		program *os.File
		err     error
	}
	build, _ := cPrograms.LoadOrStore(strings.Join(flags, " "), sync.OnceValue(func() result {
		// Not a test's own directory: all tests run it. It is kept open and has no
		// name, so that nothing is left behind.
		dir, err := os.MkdirTemp("", "shm-c-")
		if err != nil {
			return result{nil, err}
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "test")
		args := append([]string{"-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-pthread", "-o", path}, flags...)
		if out, err := exec.Command("gcc", append(args, "c/test.c")...).CombinedOutput(); err != nil {
			return result{nil, fmt.Errorf("gcc: %w\n%s", err, out)}
		}
		f, err := os.Open(path)
		return result{f, err}
	}))
	r := build.(func() result)()
	if r.err != nil {
		t.Fatal(r.err)
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), r.program.Fd())
}

func startC(t testing.TB, args ...string) *process {
	t.Helper()
	cmd := exec.Command(compileC(t), args...)
	cmd.Stderr = os.Stderr
	return startProgram(t, cmd)
}

func startCAgent(t testing.TB, segment string) *process {
	t.Helper()
	p := startC(t, "agent", segment)
	p.expect("ready")
	return p
}

// runC runs a mode to its end.
func runC(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command(compileC(t), args...).CombinedOutput(); err != nil {
		t.Fatalf("c/test.c %v: %v\n%s", args, err, out)
	}
}

func TestCHeaderCompiles(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc is not installed")
	}
	for _, with := range []string{"gcc -std=c11", "clang -std=c11", "g++ -std=c++17 -x c++", "clang++ -std=c++17 -x c++"} {
		t.Run(with, func(t *testing.T) {
			t.Parallel()
			args := strings.Fields(with)
			if _, err := exec.LookPath(args[0]); err != nil {
				t.Skip(args[0] + " is not installed")
			}
			args = append(args, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "c/test.c", "c/example.c")
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

type cStatus struct {
	Hits  int64    `shm:"hits"`
	Load  float32  `shm:"load"`
	Flags [4]uint8 `shm:"flags"`
	Host  [16]byte `shm:"host,char"`
	OK    bool     `shm:"ok"`
	_     [7]byte  // as 64-bit C has it, on 32-bit systems, too
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

func layoutLine[T any](t *testing.T, name string) string {
	l := must(LayoutOf[T]())(t)
	return fmt.Sprintf("%s %d %s", name, l.Size, l.Format)
}

func TestCLayouts(t *testing.T) {
	p := startC(t, "layouts")
	for _, want := range []string{
		layoutLine[cStatus](t, "status"), layoutLine[cLonger](t, "longer"), layoutLine[cNested](t, "nested"),
		layoutLine[bool](t, "0"), layoutLine[int8](t, "1"), layoutLine[uint8](t, "2"), layoutLine[int16](t, "3"), layoutLine[uint16](t, "4"),
		layoutLine[int32](t, "5"), layoutLine[uint32](t, "6"), layoutLine[int64](t, "7"), layoutLine[uint64](t, "8"),
		layoutLine[float32](t, "9"), layoutLine[float64](t, "10"), layoutLine[complex64](t, "11"), layoutLine[complex128](t, "12"),
		"end",
	} {
		p.expect(want)
	}
}

// Both parsers accept the same formats, and find the same sizes.
func TestCParsesFormats(t *testing.T) {
	formats := []string{
		"", "<", "<q", "<Zd", "<Z", "<l", "q", ">>q", "<qq", "(3)<q", "(3,4)<q", "(0)<q", "(03)<q", "()<q", "(3)(4)<q", "(3<q", "(,3)<q",
		"T{}", "T{x}", "T{1x}", "T{2x}", "T{2x3x}", "T{xx}", "T{<b:a:3x<i:b:}", "T{<b:a:<i:b:}", "T{<b:a:<i:a:}", "T{<b::}", "T{<b:a}", "T{<b:a:",
		"T{T{<b:a:}:a:<b:b:}", "(2)T{(2)T{<b:a:x<h:b:}:a:<b:b:}", "T{<b:a b:}", "T{<b:a{:}", "T{<b:a\x7f:}", "T{<b:a:}x",
		"(1099511627776)<b", "(1099511627777)<b", "(99999999999999999999999)<b", "T{(1099511627775)<b:a:x}", "T{(1099511627775)<b:a:2x}",
		"(1048576,1048576)<b", "(1048576,1048577)<b", "(549755813888)<h", "(549755813889)<h", "T{1099511627776x}", "T{1099511627777x}",
		strings.Repeat("T{", 32) + "<b" + strings.Repeat(":a:}", 32), strings.Repeat("T{", 33) + "<b" + strings.Repeat(":a:}", 33),
		"(" + strings.Repeat("1,", 31) + "1)<b", "(" + strings.Repeat("1,", 32) + "1)<b", "(2)" + strings.Repeat("x", maxText),
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		b := []byte([]string{cStatusFormat, "(2)T{(2,3)T{<b:a:x<h:b:}:a:<Zd:b:}", "T{<b:a:3x<i:bc:2x}"}[random.IntN(3)])
		for range 1 + random.IntN(2) {
			i := random.IntN(len(b))
			switch random.IntN(3) {
			case 0:
				b = append(b[:i], b[i+1:]...)
			case 1:
				b[i] = b[random.IntN(len(b))]
			default:
				b = append(b[:i], append([]byte{b[random.IntN(len(b))]}, b[i:]...)...)
			}
		}
		formats = append(formats, string(b))
	}
	p := startC(t, "parse")
	known := 0
	for _, format := range formats {
		format = strings.ReplaceAll(format, "<", byteOrder)
		want := "no"
		// C takes what is canonical.
		if l, err := ParseLayout(format); err == nil && l.Format == format {
			want = fmt.Sprint(l.Size, " ", l.end())
			known++
		}
		p.say(format)
		got := p.line()
		size, _, _ := strings.Cut(got, " ")
		if n, err := strconv.ParseInt(size, 10, 64); err == nil && n > int64(maxSize) {
			continue // too large for Go on 32-bit systems
		}
		if got != want {
			t.Errorf("%q: %s in C, %s in Go", format, got, want)
		}
	}
	if known < 200 {
		t.Errorf("only %d of %d formats are any", known, len(formats))
	}
}

const cStatusFormat = "T{<q:hits:<f:load:(4)<B:flags:(16)<c:host:<?:ok:7x}"

// visitNumbers does to the numbers of a type what VISIT in c/test.c does.
func visitNumbers[T interface {
	int8 | uint8 | int16 | uint16 | int32 | uint32 | int64 | uint64 | float32 | float64
}](t *testing.T, s *Segment, name string, index, k int) {
	t.Helper()
	v := must(NewValue(s, "number-"+name, T(42+index)))(t)
	if x := v.Load(); x != T(42+index+k) {
		t.Fatalf("number-%s is %v in round %d", name, x, k)
	}
	v.Add(1)
	a := must(NewArray[T](s, "array-"+name, 3))(t)
	for i := range a.Len() {
		if x := a.Load(i); x != T(k*(i+1)) {
			t.Fatalf("array-%s[%d] is %v in round %d", name, i, x, k)
		}
		a.Add(i, T(i+1))
	}
	raw := must(NewRawArray[T](s, "raws-"+name, 5))(t)
	if raw.Get(4) != T(k) || raw.Get(0) != 0 {
		t.Fatalf("raws-%s is %v in round %d", name, raw.Slice(), k)
	}
	raw.Set(4, T(k+1))
}

// visit finds values of all kinds as the round before k left them, or makes
// them in round 0, and brings them to round k: as in c/test.c.
func visit(t *testing.T, name string, k int) {
	t.Helper()
	s := open(t, name, nil)
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
	raw := must(NewRawValue(s, "raw", 3.25))(t)
	if x := raw.Get(); x != 3.25+float64(k) {
		t.Fatalf("raw is %v in round %d", x, k)
	}
	raw.Set(raw.Get() + 1)
	want := cStatus{Hits: 100, Load: 0.5, Flags: [4]uint8{1, 2, 3, 4}, OK: true}
	copy(want.Host[:], "host")
	rs := must(NewRawStruct(s, "rawstruct", want))(t)
	want.Hits += int64(k)
	if x := rs.Get(); x != want {
		t.Fatalf("rawstruct is %+v in round %d", x, k)
	}
	rs.Ptr().Hits++
	if x := must(NewAtomic(s, "atomic", ^uint64(1)))(t).Add(1); x != ^uint64(1)+uint64(k)+1 {
		t.Fatalf("atomic is %d in round %d", x, k)
	}
	chars, text, next := must(NewCharArray(s, "chars", 20))(t), "", fmt.Sprint("round ", k+1)
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
	st := must(NewStruct(s, "struct", want))(t)
	want.Hits, want.Load = want.Hits+int64(k), want.Load+float32(k)
	if x := st.Load(); x != want {
		t.Fatalf("struct is %+v in round %d", x, k)
	}
	st.Update(func(x *cStatus) { x.Hits++; x.Load++ })
	str := must(NewString(s, "string", 64))(t)
	round := func(k int) string { // a text that fits, or fills it
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
	mu := must(NewMutex(s, "mutex"))(t)
	mu.Lock()
	//lint:ignore SA2001 that it can be taken is what is tested
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
			name := testName(t)
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
	name := testName(t)
	s := open(t, name, nil)
	short := must(NewStruct(s, "struct", cStatus{Hits: 1}))(t)
	p := startC(t, "grow", name)
	p.expect("grown")
	if x := short.Load(); x.Hits != 1000 {
		t.Fatalf("the struct is %+v", x)
	}
	short.Update(func(x *cStatus) { x.Hits = 2000 })
	if x := must(NewStruct(s, "struct", cLonger{}))(t).Load(); x.Hits != 2000 || x.Level != 5 || x.Extra != 77 {
		t.Fatalf("the longer struct is %+v", x)
	}
	p.say("")
	p.expect("kept")
	p.wait()
}

// Whoever is not told, or does not mend, leaves the mark to the next.
func TestCAbandonedStays(t *testing.T) {
	name, v := locked(t)
	holder := startCAgent(t, name)
	holder.must("addSlowly 1", "inside")
	holder.kill()
	p := startCAgent(t, name)
	p.must("add 3", "added")
	p.must("lock", "locked")
	p.must("abandoned", "true")
	p.must("unlock", "unlocked")
	p.must("lock", "locked")
	p.must("abandoned", "true")
	p.kill()
	v.Mutex().Lock()
	defer v.Mutex().Unlock()
	if !v.Mutex().Abandoned() || v.Raw().Get() != 4 {
		t.Fatalf("abandoned %v, number %d", v.Mutex().Abandoned(), v.Raw().Get())
	}
}

// Threads in C and goroutines wait for one lock, also while it is held long.
func TestCThreads(t *testing.T) {
	name, v := locked(t)
	p, q, other := startCAgent(t, name), startCAgent(t, name), startAgent(t, name)
	v.Mutex().Lock()
	p.say("crowd 20")
	q.say("crowd 20")
	other.say("crowd 20")
	sleeping(t, v.Mutex(), true)
	v.Mutex().Unlock()
	within(t, "all are through", func() { p.expect("through"); q.expect("through"); other.expect("through") })
	p.say("threads 10000")
	q.say("threads 10000")
	other.say("add 20000")
	within(t, "all are through", func() { p.expect("through"); q.expect("through"); other.expect("added") })
	if got, want := v.Load(), int64(3*20+2*4*10000+20000); got != want {
		t.Fatalf("%d additions counted %d", want, got)
	}
	if w := v.Mutex().cell.word.Load(); w != 0 {
		t.Fatalf("word %#x at rest", w)
	}
}

// Who has waited long has the lock reserved by a C process that unlocks, and a C
// process takes a reservation once it has slept.
func TestCReserves(t *testing.T) {
	name, v := locked(t)
	c := v.Mutex().cell
	p, q := startCAgent(t, name), startCAgent(t, name)
	eventually(t, "a reservation", func() bool {
		p.must("lock", "locked")
		held := c.word.Or(wordW) | wordW
		c.starve.Store(starveKernel)
		awake := make(chan struct{})
		go func() {
			defer close(awake)
			futexWait(&c.word, held, anyBit, time.Second)
		}()
		time.Sleep(time.Millisecond) // it sleeps by then, more often than not; else the next round tells
		p.must("unlock", "unlocked")
		reserved := c.word.Load() == wordW
		futexWake(&c.word, 1, anyBit)
		<-awake
		return reserved
	})
	if starve := c.starve.Load(); starve != 0 {
		t.Fatalf("starve is %d after the lock was reserved", starve)
	}
	q.must("lock", "locked")
	q.must("unlock", "unlocked")
	if w := c.word.Load(); w != 0 {
		t.Fatalf("word %#x at rest", w)
	}
}

// Who gives up in C leaves nothing behind, and who does not gets the lock: of a
// living holder, and of a dead one.
func TestCGivesUp(t *testing.T) {
	name, v := locked(t)
	mu := v.Mutex()
	p, q := startCAgent(t, name), startCAgent(t, name)
	for i := range 20 {
		mu.Lock()
		p.must(fmt.Sprint("lockFor ", []int{0, 2, 15}[i%3]), "gave up")
		mu.Unlock()
		q.must("trylock", "true")
		p.must("lockFor 0", "gave up")
		q.must("unlock", "unlocked")
		if w := mu.cell.word.Load(); w != 0 {
			t.Fatalf("word %#x at rest", w)
		}
	}
	mu.Lock()
	p.say("lockFor 20000")
	sleeping(t, mu, true)
	// One that sleeps and gives up meanwhile takes nobody's wake-up with it.
	q.must("lockFor 10", "gave up")
	mu.Unlock()
	within(t, "the lock", func() { p.expect("locked") })
	q.say("lockFor 20000")
	sleeping(t, mu, false)
	p.kill()
	within(t, "a dead holder's lock", func() { q.expect("locked") })
	q.must("abandoned", "true")
}

// C sleeps until a number is what it waits for, and until a value is made.
func TestCAwaits(t *testing.T) {
	name, v := locked(t)
	p, other := startCAgent(t, name), startCAgent(t, name)
	change := &v.Mutex().cell.change.word
	for i := range 20 {
		p.say(fmt.Sprint("await ", 2*i+2))
		for range 2 {
			eventually(t, "C awaits", func() bool { return change.Load()&awaited != 0 })
			v.Add(1)
		}
		within(t, "the change is seen", func() { p.expect(fmt.Sprint("saw ", 2*i+2)) })
	}
	p.must("awaitFor 5", "gave up")
	names := &open(t, name, nil).m.Load().names.word
	for _, who := range []*process{p, other} {
		who.say("waitFor 0")
	}
	eventually(t, "C awaits a name", func() bool { return names.Load()&awaited != 0 })
	must(NewRawValue[int64](open(t, name, nil), "other", 1))(t)
	eventually(t, "C awaits a name", func() bool { return names.Load()&awaited != 0 })
	must(NewRawValue[int64](open(t, name, nil), "made", 7))(t)
	within(t, "the name is seen", func() { p.expect("made 7"); other.expect("made 7") })
	// A holder dies after it has changed something: its successor tells.
	p.must("addSlowly 100", "inside")
	v.Mutex().cell.change.word.And(^uint32(awaited))
	other.say("await 140")
	other.expect("saw 140") // before the lock is free
	other.say("await 141")
	eventually(t, "C awaits", func() bool { return change.Load()&awaited != 0 })
	before := change.Load()
	p.kill()
	within(t, "a dead holder's lock", v.Mutex().Lock)
	if change.Load()&^awaited == before&^awaited {
		t.Fatal("who awaits is not told of a death")
	}
	v.Raw().Set(141)
	v.Mutex().Unlock()
	within(t, "the change is seen", func() { other.expect("saw 141") })
}

// The example of the manual compiles as it says, and counts.
func TestCExample(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc is not installed")
	}
	source := string(must(os.ReadFile("c/example.c"))(t))
	name := testName(t)
	if !strings.Contains(source, `"shm-example"`) {
		t.Fatal("the example names its segment otherwise")
	}
	dir := t.TempDir()
	header := must(filepath.Abs("c"))(t)
	if err := os.WriteFile(filepath.Join(dir, "example.c"), []byte(strings.Replace(source, "shm-example", name, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "example")
	if out, err := exec.Command("gcc", "-O2", "-pthread", "-I", header, "-o", program, filepath.Join(dir, "example.c")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for run := range 3 {
		if out := must(exec.Command(program).Output())(t); string(out) != fmt.Sprintf("run %d: fine\n", run+1) {
			t.Fatalf("run %d says %q", run+1, out)
		}
	}
	if n := must(NewValue[int64](open(t, name, nil), "runs", 0))(t).Load(); n != 3 {
		t.Fatalf("%d runs", n)
	}
}

// Whoever awaits a change in Go is told of one by C.
func TestCStoresAreAwaited(t *testing.T) {
	name, v := locked(t)
	waiter, p := startAgent(t, name), startCAgent(t, name)
	change := &v.Mutex().cell.change.word
	for i := range 20 {
		waiter.say(fmt.Sprint("await ", i+1))
		eventually(t, "somebody awaits", func() bool { return change.Load()&awaited != 0 })
		before := change.Load()
		p.must("add 1", "added")
		if change.Load()&^awaited == before&^awaited {
			t.Fatal("who awaits is not told")
		}
		within(t, "the change is seen", func() { waiter.expect(fmt.Sprint("saw ", i+1, " <nil>")) })
	}
}

var steadyWriter = helper("steadyWriter", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := NewStruct(s, "steady", cSteady{})
	if err != nil {
		return err
	}
	for {
		v.Update((*cSteady).step)
	}
})

// A reader in C that was overtaken often enough to ask for the lock does not wait
// for who holds it, as in TestReaderBesideAHolder.
func TestCReaderBesideAHolder(t *testing.T) {
	name := testName(t)
	v := must(NewStruct(open(t, name, nil), "v", struct {
		N uint64 `shm:"n"`
	}{1}))(t)
	sl := &v.s.slots
	sl.mu.Lock()
	p := startC(t, "overtaken", name) // slot 0 sends it to slot 1, whose number is 0, and back
	sleeping(t, sl.mu, false)
	binary.NativeEndian.PutUint64(sl.data[1], 1) // and now keeps it there
	within(t, "the copy of a struct whose lock is held", func() { p.expect("read") })
	sl.mu.Unlock()
}

// Writers in both languages are killed all the time; readers see no torn
// struct, and none that is older than the one before.
func TestCStructStorm(t *testing.T) {
	name := testName(t)
	v := must(NewStruct(open(t, name, nil), "steady", cSteady{}))(t)
	reader := startC(t, "reader", name)
	reader.expect("ready")
	begin := func(i int) *process {
		if i == 0 {
			return startC(t, "writer", name)
		}
		return start(t, steadyWriter, name)
	}
	all := []*process{begin(0), begin(1)}
	last, kills := int64(0), 0
	for end := time.Now().Add(*stormLength / 2); time.Now().Before(end); kills++ {
		for until := time.Now().Add(20 * time.Millisecond); time.Now().Before(until); runtime.Gosched() {
			x := v.Load()
			if !x.whole() || x.N < last {
				t.Fatalf("after %d: %v", last, x)
			}
			last = x.N
		}
		all[kills%2].kill()
		all[kills%2] = begin(kills % 2)
	}
	reader.say("enough")
	t.Logf("%d commits, %d kills; reads and changes in C: %s", last, kills, reader.line())
	reader.wait()
	for _, p := range all {
		p.kill()
	}
	v.Update(func(x *cSteady) {
		if !x.whole() {
			t.Errorf("at the end: %v", x)
		}
	})
}

// A C process forks inside the lock: the child has no part in it, and does not
// keep its parent alive.
func TestCForks(t *testing.T) {
	name, v := locked(t)
	p := startC(t, "forks", name)
	pid, err := strconv.Atoi(strings.TrimPrefix(p.line(), "child "))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	if v.Mutex().TryLock() {
		t.Fatal("a child unlocked its parent's lock")
	}
	if err := p.cmd.Process.Kill(); err != nil { // and no Wait, which would close the child's output
		t.Fatal(err)
	}
	within(t, "the lock of a dead holder whose child lives", v.Mutex().Lock)
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatal(err)
	}
	if !v.Mutex().Abandoned() {
		t.Fatal("nobody is told that the parent died")
	}
	v.Mutex().Unlock()
	p.say("")
	p.expect("child added")
	p.expect("grandchild added")
	if got := v.Load(); got != 2 {
		t.Fatalf("the number is %d", got)
	}
}

// Makers are killed: what they made is whole, and others make more.
func TestCKilledMakers(t *testing.T) {
	name := testName(t)
	s := open(t, name, &Options{MaxSize: 256 << 20})
	for i := range 12 {
		p, q := startC(t, "maker", name, strconv.Itoa(2*i)), startC(t, "maker", name, strconv.Itoa(2*i+1))
		p.expect("ready")
		q.expect("ready")
		time.Sleep(time.Duration(rand.IntN(int(5 * time.Millisecond))))
		p.kill()
		within(t, "a value beside makers", func() { must(NewRawValue(s, fmt.Sprint("mine ", i), int64(i)))(t) })
		q.kill()
	}
	values := 0
	for e := range s.Entries() {
		values++
		if n, _, ok := strings.Cut(e.Name, " of "); ok && e.Access == AccessRaw && e.Text() != n {
			t.Fatalf("%q is %s", e.Name, e.Text())
		}
		if e.Access == AccessPublished && must(NewString(s, e.Name, 0))(t).Load() != "" {
			t.Fatalf("%q is not empty", e.Name)
		}
	}
	if err := s.m.Load().dir.extend(s.m.Load(), s.file); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d values", values)
}

// C, too, frees the locks of a system that went down.
func TestCAfterAReboot(t *testing.T) {
	path, before := crashed(t)
	p := startCAgent(t, path)
	p.must("lock", "locked")
	p.must("abandoned", "true")
	p.must("consistent", "consistent")
	p.must("unlock", "unlocked")
	s := open(t, path, nil)
	if boot, _ := s.m.Load().boot.load(); boot != bootID() {
		t.Fatalf("boot %#x, this is %#x", boot, bootID())
	}
	if next, _ := s.m.Load().nextID.load(); next != before+1<<20+1 {
		t.Fatalf("the next id is %d, after %d", next, before)
	}
	if n := must(NewMutex(s, "mutex"))(t).cell.takeovers.Load(); n != 0 {
		t.Fatalf("%d takeovers", n)
	}
}

// Memory that a broken or hostile peer wrote leads to values or to errors.
func TestCHostileMemory(t *testing.T) {
	name := testName(t)
	visit(t, name, 0)
	program := compileC(t)
	flags := []string{"-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"}
	if probe := exec.Command("gcc", append(flags, "-o", "/dev/null", "-x", "c", "-")...); !raceEnabled {
		probe.Stdin = strings.NewReader("int main(void) { return 0; }")
		if probe.Run() == nil {
			program = compileC(t, flags...)
		}
	}
	out, err := exec.Command(program, "hostile", Path(name), strconv.Itoa(rounds(1000))).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("attached to %s", out)
}

// The lock in C beside pthread's robust mutex, in one run.
func BenchmarkC(b *testing.B) {
	program := compileC(b)
	var shm, robust, ratio, add float64
	for b.Loop() {
		out, err := exec.Command(program, "bench").Output()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := fmt.Sscanf(string(out), "shm %f ns, pthread robust %f ns, ratio %f; shm_add_i64 %f ns", &shm, &robust, &ratio, &add); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(shm, "shm-ns")
	b.ReportMetric(robust, "robust-ns")
	b.ReportMetric(ratio, "shm/robust")
	b.ReportMetric(add, "add-ns")
}
