package interop_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/layout"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
)

// cTest compiles c/test.c, or skips the test if there is no compiler.
func cTest(t testing.TB, flags ...string) (program string) {
	t.Helper()
	dir := filepath.Join(shmtest.Root(t), "c")
	shmtest.Must(os.Stat(filepath.Join(dir, "test.c")))(t) // go test does not see that gcc reads them.
	shmtest.Must(os.Stat(filepath.Join(dir, "shm.h")))(t)
	args := append([]string{"-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror"}, flags...)
	return shmtest.CProgram(t, append(args, filepath.Join(dir, "test.c"))...)
}

func startC(t testing.TB, args ...string) *shmtest.Process {
	t.Helper()
	return shmtest.StartProgram(t, exec.Command(cTest(t), args...))
}

func startCAgent(t testing.TB, segment string) *shmtest.Process {
	t.Helper()
	p := startC(t, "agent", segment)
	p.Expect("ready")
	return p
}

// runC runs a mode of c/test.c to its end.
func runC(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command(cTest(t), args...).CombinedOutput(); err != nil {
		t.Fatalf("c/test.c %v: %v\n%s", args, err, out)
	}
}

func TestCHeaderCompiles(t *testing.T) {
	root := shmtest.Root(t)
	for _, with := range []string{"gcc -std=c11", "clang -std=c11", "g++ -std=c++17 -x c++", "clang++ -std=c++17 -x c++"} {
		t.Run(with, func(t *testing.T) {
			t.Parallel()
			args := strings.Fields(with)
			compiler := shmtest.Tool(t, args[0])
			args = append(args[1:], "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "test.c", "example.c")
			cmd := exec.Command(compiler, args...)
			cmd.Dir = filepath.Join(root, "c")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

// The example of c/README.md compiles as that says, and counts.
func TestCExample(t *testing.T) {
	header := filepath.Join(shmtest.Root(t), "c")
	source := string(shmtest.Must(os.ReadFile(filepath.Join(header, "example.c")))(t))
	name := shmtest.Name(t)
	if !strings.Contains(source, `"shm-example"`) {
		t.Fatal("the segment of the example has another name")
	}
	path := filepath.Join(t.TempDir(), "example.c")
	shmtest.WriteFile(t, path, []byte(strings.Replace(source, "shm-example", name, 1)))
	program := shmtest.CProgram(t, "-I", header, path)
	for run := range 3 {
		if out := shmtest.Must(exec.Command(program).Output())(t); string(out) != fmt.Sprintf("run %d: fine\n", run+1) {
			t.Fatalf("run %d prints %q", run+1, out)
		}
	}
	if n := shmtest.Must(shm.NewValue[int64](shmtest.Opened(shm.Open(name, nil))(t), "runs", 0))(t).Load(); n != 3 {
		t.Fatalf("%d runs", n)
	}
}

func layoutLine[T any](t *testing.T, name string) string {
	l := shmtest.Must(shm.LayoutOf[T]())(t)
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
		p.Expect(want)
	}
}

// The parsers of C and Go accept the same formats, and find the same sizes.
func TestCParsesFormats(t *testing.T) {
	formats := []string{
		"", "<", "<q", "<Zd", "<Z", "<l", "q", ">>q", "<qq", "(3)<q", "(3,4)<q", "(0)<q", "(03)<q", "()<q", "(3)(4)<q", "(3<q", "(,3)<q",
		"T{}", "T{x}", "T{1x}", "T{2x}", "T{2x3x}", "T{xx}", "T{<b:a:3x<i:b:}", "T{<b:a:<i:b:}", "T{<b:a:<i:a:}", "T{<b::}", "T{<b:a}", "T{<b:a:",
		"T{T{<b:a:}:a:<b:b:}", "(2)T{(2)T{<b:a:x<h:b:}:a:<b:b:}", "T{<b:a b:}", "T{<b:a{:}", "T{<b:a\x7f:}", "T{<b:a:}x",
		"(1099511627776)<b", "(1099511627777)<b", "(99999999999999999999999)<b", "T{(1099511627775)<b:a:x}", "T{(1099511627775)<b:a:2x}",
		"(1048576,1048576)<b", "(1048576,1048577)<b", "(549755813888)<h", "(549755813889)<h", "T{1099511627776x}", "T{1099511627777x}",
		strings.Repeat("T{", 32) + "<b" + strings.Repeat(":a:}", 32), strings.Repeat("T{", 33) + "<b" + strings.Repeat(":a:}", 33),
		"(" + strings.Repeat("1,", 31) + "1)<b", "(" + strings.Repeat("1,", 32) + "1)<b", "(2)" + strings.Repeat("x", format.MaxText),
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
	for _, text := range formats {
		text = strings.ReplaceAll(text, "<", layout.ByteOrder)
		want := "no"
		// C accepts canonical formats only.
		if l, err := layout.Parse(text); err == nil && l.Format == text {
			want = fmt.Sprint(l.Size, " ", l.End())
			known++
		}
		p.Say(text)
		got := p.Line()
		size, _, _ := strings.Cut(got, " ")
		if n, err := strconv.ParseInt(size, 10, 64); err == nil && n > math.MaxInt>>1 {
			continue // too large for Go on a 32-bit system
		}
		if got != want {
			t.Errorf("%q: %s in C, %s in Go", text, got, want)
		}
	}
	if known < 200 {
		t.Errorf("only %d of %d formats are valid", known, len(formats))
	}
}

const cStatusFormat = "T{<q:hits:<f:load:(4)<B:flags:(16)<c:host:<?:ok:7x}"

// Memory that a faulty or hostile process has written leads to values or to
// errors.
func TestCHostileMemory(t *testing.T) {
	name := shmtest.Name(t)
	visit(t, name, 0)
	program := cTest(t)
	flags := []string{"-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"}
	if probe := exec.Command("gcc", append(flags, "-o", "/dev/null", "-x", "c", "-")...); !race.Enabled {
		probe.Stdin = strings.NewReader("int main(void) { return 0; }")
		if probe.Run() == nil {
			program = cTest(t, flags...)
		}
	}
	out, err := exec.Command(program, "hostile", shm.Path(name), strconv.Itoa(shmtest.Rounds(1000))).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("attached to %s", out)
}

// BenchmarkC measures the lock in C beside pthread's robust mutex, in one run.
func BenchmarkC(b *testing.B) {
	dir := filepath.Join(shmtest.Root(b), "c")
	shmtest.Must(os.Stat(filepath.Join(dir, "shm.h")))(b)
	program := shmtest.CProgram(b, "-O2", filepath.Join(dir, "bench.c"))
	var ours, robust, ratio, add float64
	for b.Loop() {
		out, err := exec.Command(program, "1000").Output()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := fmt.Sscanf(string(out), "lock, add, unlock: shm %f ns, pthread robust %f ns, ratio %f (wanted: at most 0.5)\nshm_add_i64 %f ns", &ours, &robust, &ratio, &add); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ours, "shm-ns")
	b.ReportMetric(robust, "robust-ns")
	b.ReportMetric(ratio, "shm/robust")
	b.ReportMetric(add, "add-ns")
}
