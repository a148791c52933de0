package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/shm"
)

// odd is a struct of whose fields the languages have keywords.
type odd struct {
	Default int64    `shm:"default"`
	Int     int32    `shm:"int"`
	C       [4]byte  `shm:"c,char"`
	Linux   float32  `shm:"linux"`
	In      struct { // its name is a keyword too
		Class, X int16
	} `shm:"struct"`
	Tick  int8    "shm:\"ti`ck\""
	Tail  [3]int8 `shm:"größe"`
	Whole int64
}

// oddNames has values with names that the languages do not take as they are, and one of each
// type that the board does not have.
type oddNames struct {
	A          shm.Atomic[uint64]                     `shm:"a,help=a time.Duration of it"`
	Format     shm.Value[float64]                     `shm:"a.format"`
	Len        shm.Array[int32]                       `shm:"a.len,len=3"`
	Histogram  shm.Histogram                          `shm:"histogram,bounds=0.1;1;10,unit=s"`
	Ring       shm.Ring[odd]                          `shm:"ring,len=4"`
	Table      shm.Table[odd]                         `shm:"table,len=3"`
	Mutexes    shm.Mutexes                            `shm:"locks,len=3"`
	None       shm.Struct[struct{ X int64 }]          `shm:"none"`
	True       shm.Struct[struct{ Y int64 }]          `shm:"true"`
	Values     shm.Struct[odd]                        `shm:"values"`
	Lambda     shm.Atomic[int64]                      `shm:"lambda"`
	Segment    shm.Struct[struct{ Z, Segment int64 }] `shm:"segment"`
	Gen        shm.Atomic[int64]                      `shm:"gen assert"`
	Quotes     shm.Atomic[int64]                      "shm:\"quo\\\"te*/ /* `x\\\\\""
	Unprinted  shm.Atomic[int64]                      "shm:\"x\u0085\u202ey,help=*/ \x1b[31mred \\\"\\\"\\\"\""
	Counter    shm.Counter[uint64]                    `shm:"counter"`
	Gauge      shm.Gauge[float64]                     `shm:"gauge"`
	Durations  shm.AtomicArray[int64]                 `shm:"atomic array,len=3"`
	Cumulative shm.Counter[int64]                     `shm:"cumulative,hint=duration"`
	Several    shm.Struct[[2]odd]                     `shm:"several"`
}

// oddSegment makes such a segment in a file of that name.
func oddSegment(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	s, err := shm.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	var b oddNames
	if err := shm.Bind(s, &b); err != nil {
		t.Fatal(err)
	}
	b.A.Store(7)
	b.Cumulative.Add(int64(time.Second))
	b.Values.Store(odd{Int: 8})
	return path
}

// generated returns what gen writes.
func generated(t *testing.T, language, segment string) string {
	t.Helper()
	r := shmTool(t, "gen", language, segment)
	if r.status != 0 {
		t.Fatalf("gen %s: %+v", language, r)
	}
	return r.stdout
}

// TestGenOfOddNames compiles what gen writes of names that are keywords, or no names at all,
// and lets it attach to the values and make them.
func TestGenOfOddNames(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	write := func(file, text string) string {
		path := filepath.Join(t.TempDir(), file)
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Run("Go", func(t *testing.T) {
		seg, empty := oddSegment(t, "func"), filepath.Join(t.TempDir(), "main")
		s, err := shm.Open(empty, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		text, ok := strings.CutPrefix(generated(t, "go", seg), "// Package funcvalues ")
		if !ok {
			t.Fatalf("the package has another name: %s", text)
		}
		main := write("main.go", strings.NewReplacer("package funcvalues", "package main", "import (", `import (
	"fmt"
	_ "example.org/shm/cmd/generated/nothing"`).Replace("// Package main "+text)+`
func main() {
	there, err := shm.Open(`+"`"+seg+"`"+`, &shm.Options{MustExist: true})
	var a, b Func
	if err == nil {
		err = shm.Bind(there, &a)
	}
	if err != nil {
		panic(err)
	}
	fresh, err := shm.Anonymous(nil)
	if err == nil {
		err = shm.Bind(fresh, &b)
	}
	if err != nil {
		panic(err)
	}
	for _, s := range []*shm.Segment{there, fresh} {
		for e := range s.Entries() {
			fmt.Printf("%q %s %s %d\n", e.Name, e.Type(), e.Layout.Format, e.Len)
		}
	}
	fmt.Println(a.A.Load(), a.Cumulative.Load(), a.Values.Load().Int, b.Histogram.Load().Bounds)
}
`)
		nothing := write("nothing.go", generated(t, "go", empty))
		overlay := write("overlay.json", `{"Replace": {"`+root+`/cmd/generated/main.go": "`+main+`", "`+root+`/cmd/generated/nothing/nothing.go": "`+nothing+`"}}`)
		cmd := exec.Command("go", "run", "-overlay", overlay, "./cmd/generated")
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if n := len(lines) / 2; err != nil || lines[len(lines)-1] != "7 1s 8 [0.1 1 10]" || n != 20 || strings.Join(lines[:n], "\n") != strings.Join(lines[n:2*n], "\n") {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("C", func(t *testing.T) {
		for _, name := range []string{"odd", "shm"} {
			header := write("odd.h", generated(t, "c", oddSegment(t, name)))
			program := write("program.c", `#include "`+root+`/c/shm.h"
#include "`+header+`"
int main(void) { return 0; }
`)
			for _, compiler := range []string{"gcc -std=gnu11", "g++ -x c++ -std=gnu++17"} {
				command := strings.Fields(compiler)
				path, err := exec.LookPath(command[0])
				if err != nil {
					t.Log(err)
					continue
				}
				args := append(command[1:], "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", program)
				if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
					t.Errorf("%s: %v\n%s", compiler, err, out)
				}
			}
		}
	})
	t.Run("Python", func(t *testing.T) {
		if !hasPython() {
			t.Skip("no python3")
		}
		seg := oddSegment(t, `a"""+b\`)
		module := write("odd.py", generated(t, "python", seg))
		cmd := exec.Command("python3", "-c", `import shm, sys, odd
with shm.open(sys.argv[1]) as seg, shm.anonymous() as fresh:
    b, made = odd.Values(seg), odd.Values(fresh)
    both = [[(e.name, e.kind, e.access, e.format, e.length, e.unit, e.help, e.hint) for e in s.entries()] for s in (seg, fresh)]
    assert both[0] == both[1], both
    print(b.a.load(), b.cumulative.load(), b.values.load().int, len(both[0]), made.histogram.bounds)`, seg)
		cmd.Env = append(os.Environ(), "PYTHONPATH="+root+"/python:"+filepath.Dir(module), "PYTHONDONTWRITEBYTECODE=1")
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != "7 1000000000 8 20 [0.1, 1.0, 10.0]\n" {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// A name that a tag cannot hold is an error.
func TestGenOfNamesThatNoTagHolds(t *testing.T) {
	for _, name := range []string{"-", "a,b"} {
		path := filepath.Join(t.TempDir(), "seg")
		s, err := shm.Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := shm.NewAtomic[int64](s, name, 0); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if r := shmTool(t, "gen", "go", path); r.status != statusFailed || r.stdout != "" || !strings.Contains(r.stderr, name) {
			t.Errorf("%q: %+v", name, r)
		}
	}
}
