package interop_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// sanitizers are the flags for gcc that find what a program does wrong with memory, or
// nil if this compiler has them not.
func sanitizers() []string {
	flags := []string{"-O0", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"}
	probe := exec.Command("gcc", append(flags, "-o", "/dev/null", "-x", "c", "-")...)
	probe.Stdin = strings.NewReader("int main(void) { return 0; }")
	if race.Enabled || probe.Run() != nil {
		return nil
	}
	return flags
}

// The verbs of C that need no other program.
func TestCVerbs(t *testing.T) {
	t.Parallel()
	for what, flags := range map[string][]string{"plain": {"-O2"}, "sanitized": sanitizers()} {
		if flags == nil {
			continue
		}
		name := shmtest.Name(t)
		if out, err := exec.Command(cTest(t, flags...), "verbs", name).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", what, err, out)
		}
		_ = shm.Remove(name)
	}
}

type cShown struct {
	Name  [5]byte `shm:"name,char"`
	Grid  [2][2]float32
	Flag  bool
	Words [2][3]byte `shm:"words,char"`
	Bytes [3]uint8
	_     [2]byte
	Inner [2]struct {
		A int16
		_ [6]byte
		B complex64
	}
	Last uint64
}

// odd returns the bits of a float: often one that is hard to write.
func odd(random *rand.Rand) uint64 {
	switch random.IntN(4) {
	case 0:
		return random.Uint64()
	case 1:
		return math.Float64bits(math.Ldexp(float64(random.IntN(1000)-500), random.IntN(200)-100))
	case 2:
		return math.Float64bits(float64(random.IntN(2000000)-1000000) / 1000)
	}
	all := []float64{0, math.Copysign(0, -1), 1, -1, math.Inf(1), math.Inf(-1), math.NaN(), math.MaxFloat64, math.SmallestNonzeroFloat64, 1e21, 1e-6, 1e-7, 123456789, 0.1, 1e20, 5e-324, 2.2250738585072014e-308}
	return math.Float64bits(all[random.IntN(len(all))])
}

// C shows values as Go does, and sets them from Go's texts, bit by bit.
func TestCTexts(t *testing.T) {
	name := shmtest.Name(t)
	s := shmtest.Opened(shm.Open(name, nil))(t)
	p := shmtest.StartProgram(t, exec.Command(cTest(t, sanitizers()...), "tool", name))
	p.Expect("ready")
	random := rand.New(rand.NewPCG(3, 4))
	floats := shmtest.Must(shm.NewRawArray[float64](s, "floats", 40))(t)
	singles := shmtest.Must(shm.NewArray[float32](s, "singles", 40))(t)
	complexes := shmtest.Must(shm.NewRawArray[complex128](s, "complexes", 5))(t)
	shown := shmtest.Must(shm.NewStruct(s, "shown", cShown{}))(t)
	rows := shmtest.Must(shm.NewTable[cShown](s, "rows", 3))(t)
	bytes := shmtest.Must(shm.NewRawArray[int8](s, "bytes", 5))(t)
	shmtest.Must(shm.NewRawStruct(s, "grid", [2][2]uint16{{1, 2}, {3, 4}}))(t)
	counter := shmtest.Must(shm.NewCounter[int64](s, "counter"))(t)
	gauge := shmtest.Must(shm.NewGauge[float64](s, "gauge"))(t)
	histogram := shmtest.Must(shm.NewHistogram(s, "histogram", []float64{0.5, 1e9}))(t)
	ring := shmtest.Must(shm.NewRing[int32](s, "ring", 3))(t)
	chars := shmtest.Must(shm.NewCharArray(s, "chars", 12))(t)
	text := shmtest.Must(shm.NewString(s, "text", 40))(t)
	shmtest.Must(shm.NewAtomic(s, "atomic", uint32(math.MaxUint32)))(t)
	shmtest.Must(shm.NewMutex(s, "mutex"))(t)
	shmtest.Must(shm.NewMutexes(s, "mutexes", 2))(t)
	fill := func(x *cShown) {
		for i := range x.Grid {
			x.Grid[0][i] = float32(math.Float64frombits(odd(random)))
		}
		copy(x.Name[:], []string{"a\"b", "\n\x1b\x00x", "äö", "five5", "\xff`\\"}[random.IntN(5)])
		x.Flag, x.Last = random.IntN(2) == 0, random.Uint64()
		copy(x.Words[1][:], "é")
		x.Bytes[random.IntN(3)] = uint8(random.Uint32())
		x.Inner[1].A = int16(random.Uint32())
		x.Inner[0].B = complex(float32(random.NormFloat64()), float32(math.Float64frombits(odd(random))))
	}
	check := func() {
		t.Helper()
		for e := range s.Entries() {
			p.Say("show " + e.Name)
			if got := p.Line(); got != e.Text() {
				t.Fatalf("%s: in C\n%s\nin Go\n%s", e.Name, got, e.Text())
			}
		}
	}
	check()
	for round := range 30 {
		for i := range floats.Len() {
			floats.Set(i, math.Float64frombits(odd(random)))
			singles.Store(i, math.Float32frombits(uint32(random.Uint64())))
			if i%2 == 0 {
				singles.Store(i, float32(math.Float64frombits(odd(random))))
			}
		}
		complexes.Set(round%5, complex(math.Float64frombits(odd(random)), math.Float64frombits(odd(random))))
		shown.Update(fill)
		rows.Row(round % 3).Update(fill)
		bytes.Set(round%5, int8(random.Uint32()))
		counter.Add(-7)
		gauge.Set(math.Float64frombits(odd(random)))
		histogram.Observe(float64(round) / 3)
		ring.Append(int32(round))
		if err := chars.SetValue("a\t\"b\x01"); err != nil {
			t.Fatal(err)
		}
		if err := text.Store("text \u202e" + strconv.Itoa(round)); err != nil {
			t.Fatal(err)
		}
		check()
	}
	// What Go has shown C sets.
	before := map[string]string{}
	for e := range s.Entries() {
		before[e.Name] = e.Text()
	}
	fs, ss, cs := append([]float64{}, floats.Slice()...), singles.Load(3), append([]complex128{}, complexes.Slice()...)
	clear(floats.Slice())
	clear(complexes.Slice())
	singles.Store(3, 0)
	shown.Store(cShown{})
	for i := range rows.Len() {
		rows.Row(i).Store(cShown{})
	}
	for _, name := range []string{"floats", "singles", "complexes", "shown", "rows", "bytes", "grid", "text", "chars", "atomic"} {
		p.Do("set "+name+" "+before[name], "done")
		if e, _ := s.Lookup(name); e.Text() != before[name] {
			t.Errorf("%s is %s, want %s", name, e.Text(), before[name])
		}
	}
	for i, x := range fs {
		if math.Float64bits(x) != math.Float64bits(floats.Get(i)) {
			t.Errorf("float %d is %#x, want %#x", i, math.Float64bits(floats.Get(i)), math.Float64bits(x))
		}
	}
	for i, x := range cs {
		if got := complexes.Get(i); math.Float64bits(real(x)) != math.Float64bits(real(got)) || math.Float64bits(imag(x)) != math.Float64bits(imag(got)) {
			t.Errorf("complex number %d is %v, want %v", i, got, x)
		}
	}
	if x := singles.Load(3); math.Float32bits(x) != math.Float32bits(ss) {
		t.Errorf("element 3 is %v, want %v", x, ss)
	}
	// What they refuse, and what they accept beside their own texts.
	for _, text := range []string{
		"", "[", "[]", "[1", "[1]", "[0: 1, 0: 2]", "[0: 1]", "[ 4 : 0x1f , 1:-0b11 ]", "[5: 1]", "[1,2,3,4,5]", "[1,2,3,4,5,6]", "[1,2,3,4,127]x", "[1,2,3,4,128]", "[-129,2,3,4,5]",
		"[+1,0o17,-0x1,00012,0]", "[1 2,3,4,5]", "[0: ]", "[: 1]", "[1,2,3,4,99999999999999999999]", "[18446744073709551616: 1]", " [ 1 , 2 , 3 , 4 , 5 ] ",
	} {
		both(t, s, p, "bytes", text)
	}
	for _, text := range []string{
		"{}", "{name: \"x\"}", "{name: x}", "{name: `r\"aw`}", "{name: \"\\x41\\101\\u00e9\"}", "{name: \"\\ud83d\\uDE00\"}", "{name: \"a\\/b\"}", "{name: \"\\ud83d\"}", "{name: \"\\ude00\"}", "{name: \"\\ud83d\\u0041\"}", "{name: \"\\ud83d\\ude0\"}",
		"{name: \"toolong\"}", "{name: \"\\000\"}", "{Grid: [[1,2],[3,4]]}", "{Grid: [1: [0: 5]]}",
		"{Grid: [[1,2],[3]]}", "{Flag: true, Last: 3}", "{Flag: maybe}", "{Last: -1}", "{Last: 1, Last: 2}", "{\"Last\": 5}", "{Inner: [0: {A: 3, B: (1-2i)}]}", "{Inner: [0: {A: 40000}]}",
		"{words: [\"ab\", \"c\"]}", "{Flag: T, Last: 7}", "{Flag: 1}", "{Flag: FALSE}", "{Grid: [0: [1e50, 1]]}", "{Grid: [0: [1e-50, inf]]}", "{Grid: [0: [nan, -Infinity]]}", "{Grid: [0: [1.5.5, 1]]}",
		"{Inner: [1: {B: 3}]}", "{Inner: [1: {B: 2i}]}", "{Inner: [1: {B: 1e3-2.5e-3i}]}", "{Last 1}", "{Last:1,}", "{,}", "{Last:1} ", "{nothing: 1}",
	} {
		both(t, s, p, "shown", text)
	}
}

// both sets a value from a text in Go and in C, and compares what comes of it.
func both(t *testing.T, s *shm.Segment, p *shmtest.Process, name, text string) {
	t.Helper()
	e, _ := s.Lookup(name)
	before := e.Text()
	err := e.Parse(text)
	inGo := e.Text()
	if err := e.Parse(before); err != nil {
		t.Fatal(err)
	}
	p.Say("set " + name + " " + text)
	reply := p.Line()
	if inC := e.Text(); (reply == "done") != (err == nil) || inC != inGo {
		t.Errorf("%s from %q: in C %s, %s\nin Go %v, %s", name, text, reply, inC, err, inGo)
	}
	if err := e.Parse(before); err != nil {
		t.Fatal(err)
	}
}

// C lists what Go lists, and Go shows what a value that C has made means.
func TestCLists(t *testing.T) {
	name := shmtest.Name(t)
	visit(t, name, 0)
	s := shmtest.Opened(shm.Open(name, nil))(t)
	shmtest.Must(shm.NewStruct(s, "grows", cStatus{}))(t)
	shmtest.Must(shm.NewStruct(s, "grows", cLonger{}))(t)
	shmtest.Must(shm.NewTable[cStatus](s, "table", 3))(t)
	shmtest.Must(shm.NewRing[cStatus](s, "ring", 3))(t)
	shmtest.Must(shm.NewHistogram(s, "histogram", []float64{1, 2}))(t)
	shmtest.Must(shm.NewCounter[uint64](s, "counter"))(t)
	shmtest.Must(shm.NewMutexes(s, "mutexes", 3))(t)
	var bound struct {
		A shm.Atomic[uint64] `shm:"bound,unit=requests,help=how many,hint=counter"`
	}
	if err := shm.Bind(s, &bound); err != nil {
		t.Fatal(err)
	}
	p := startC(t, "tool", name)
	p.Expect("ready")
	p.Do("make took how long it took", "done")
	hints := map[string]int{"": 0, "duration": 1, "time": 2, "text": 3, "counter": 4, "gauge": 5}
	p.Say("list")
	values := 0
	for e := range s.Entries() {
		f := e.Layout.Format
		if f == "" {
			f = "-"
		}
		size := e.Size
		want := fmt.Sprintf("%q %s %d %d %q %q %d %d %q %d %d", e.Name, f, e.Len, e.Access, e.Unit, e.Help, hints[e.Hint], e.Pid, e.Program, e.Offset, size)
		if got := p.Line(); got != want {
			t.Errorf("in C\n%s\nin Go\n%s", got, want)
		}
		values++
	}
	p.Expect("end")
	e, ok := s.Lookup("took")
	if !ok || e.Unit != "ns" || e.Help != "how long it took" || e.Hint != "duration" || e.Text() != "1500" || e.Program != "test.c" && !strings.HasPrefix(e.Program, "test") {
		t.Errorf("Go finds %+v in the value of C", e)
	}
	if x := shmtest.Must(shm.NewValue(s, "took", time.Duration(0)))(t).Load(); x != 1500*time.Nanosecond {
		t.Errorf("it is %v", x)
	}
	if values < 40 {
		t.Errorf("only %d values", values)
	}
}

// C tells who holds a lock of Go, and Go who holds one of C.
func TestCOwners(t *testing.T) {
	s, v := agent.Locked(t)
	tool := startC(t, "tool", s.Name())
	tool.Expect("ready")
	tool.Do("owner n", "0 0 0 -")
	v.Mutex().Lock()
	me := filepath.Base(os.Args[0])
	tool.Do("owner n", fmt.Sprintf("1 1 %d %.48s", os.Getpid(), me))
	v.Mutex().Unlock()
	holder := startCAgent(t, s.Name())
	holder.Do("lock", "locked")
	e, _ := s.Lookup("n")
	if l, _ := e.Lock(); !l.Held || !l.Alive || l.Pid != holder.Cmd.Process.Pid {
		t.Errorf("Go sees %+v", l)
	}
	pid := holder.Cmd.Process.Pid
	holder.Kill()
	shmtest.Eventually(t, "C sees that the holder is dead", func() bool {
		tool.Say("owner n")
		return strings.HasPrefix(tool.Line(), fmt.Sprintf("1 0 %d ", pid))
	})
}

// cInherits is a child in Go of a C program: it adds 1, and exits with the lock.
var cInherits = shmtest.Helper("cInherits", func(args []string) error {
	s, err := shm.Inherited(args[0], nil)
	if err != nil {
		return err
	}
	v, err := shm.NewValue(s, "n", int64(0))
	if err != nil {
		return err
	}
	v.Add(1)
	v.Mutex().Lock()
	return nil
})

// Go hands segments over to C, and C to Go and to Python.
func TestCInherits(t *testing.T) {
	name := shmtest.Name(t)
	for _, s := range []*shm.Segment{shmtest.Opened(shm.Open(name, nil))(t), shmtest.Opened(shm.Anonymous(nil))(t)} {
		v := shmtest.Must(shm.NewValue(s, "n", int64(0)))(t)
		pass := func(change func(*exec.Cmd)) *shmtest.Process {
			cmd := exec.Command(cTest(t), "inherited", s.Name())
			change(cmd)
			s.Pass(cmd)
			return shmtest.StartProgram(t, cmd)
		}
		p := pass(func(*exec.Cmd) {})
		p.Expect("inherited 1")
		if v.Mutex().TryLock() {
			t.Fatal("the child does not hold its lock")
		}
		p.Say("")
		p.Expect("again 2")
		p.Wait()
		p = pass(func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{os.Stderr, nil} })
		p.Expect("inherited 3")
		p.Kill()
		shmtest.Within(t, "the lock of the dead child is taken", v.Mutex().Lock)
		v.Mutex().Unlock()
		if os.Geteuid() == 0 { // A child that may not open the file gets what it needs through the socket.
			p = pass(func(cmd *exec.Cmd) {
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
				cmd.Path = readable(t, cmd.Path)
			})
			p.Expect("inherited 4")
			p.Say("")
			p.Expect("again 5")
			p.Wait()
		}
	}
	for _, name := range []string{"", shmtest.Name(t)} {
		child := shmtest.Must(shmtest.Command(cInherits, name))(t)
		cmd := exec.Command(cTest(t), append([]string{"passes", name}, child.Args...)...)
		cmd.Args[3] = child.Path
		cmd.Env = child.Env
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != "the child made it 1, abandoned 1, status 0\n" {
			t.Errorf("%q: %v\n%s", name, err, out)
		}
		python := shmtest.Python(t, "")
		child = python.Command("-c", "import sys, shm\nwith shm.inherited(sys.argv[1]) as s: s.value('n', 'q').add(1)", name)
		cmd = exec.Command(cTest(t), append([]string{"passes", name}, child.Args...)...)
		cmd.Args[3] = child.Path
		cmd.Env = append(child.Environ(), "PYTHONPATH="+filepath.Join(shmtest.Root(t), "python"))
		want := "the child made it 1, abandoned 0, status 0\n"
		if name != "" { // the value and the mark of the child before are there
			want = "the child made it 2, abandoned 1, status 0\n"
		}
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("Python, %q: %v\n%s", name, err, out)
		}
	}
}

// readable copies a program to where every user may run it.
func readable(t *testing.T, program string) string {
	t.Helper()
	dir := shmtest.Must(os.MkdirTemp("/tmp", "shm-c-"))(t)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "program")
	from := shmtest.Opened(os.Open(program))(t)
	to := shmtest.Must(os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755))(t)
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755|fs.ModeDir); err != nil {
		t.Fatal(err)
	}
	return path
}

// A C program that may only read is answered by one in Go, and the reverse.
func TestCAsks(t *testing.T) {
	s, v := agent.Locked(t)
	change := &agent.Cell(t, s, agent.ValueName).Change.Word
	p := startC(t, "reader awaits", s.Name(), "1")
	p.Expect("ready")
	shmtest.Eventually(t, "Go announces who asks", func() bool { return change.Load()&format.Awaited != 0 })
	v.Add(1)
	p.Expect("saw it")
	p.Wait()

	// Nobody in Go answers this one: the segment is another mapping, of which only the C
	// program may write.
	name := shmtest.Name(t)
	writer := startC(t, "answers", name)
	writer.Expect("ready")
	other := startCAgent(t, name) // makes the number, and answers nobody
	reader := shmtest.Opened(shm.Open(name, &shm.Options{ReadOnly: true}))(t)
	n := shmtest.Must(shm.NewValue(reader, agent.ValueName, int64(0)))(t)
	cell := agent.Cell(t, reader, agent.ValueName)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seen := make(chan error, 1)
	go func() {
		_, err := n.Await(ctx, func(x int64) bool { return x >= 3 })
		seen <- err
	}()
	shmtest.Eventually(t, "C announces who asks", func() bool { return cell.Change.Word.Load()&format.Awaited != 0 })
	other.Do("add 3", "added")
	if err := <-seen; err != nil {
		t.Fatal(err)
	}
	writer.Say("")
	writer.Wait()
}
