package shm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"
)

// better is what goes wrong with multiprocessing.sharedctypes: each script of
// testdata/sharedctypes shows it on the CPython that is there, and prints a line
// that matches theirs. ours shows what happens here instead.
var better = []struct {
	what, script, theirs string
	ours                 func(t *testing.T) string
}{
	{"a holder is killed", "killed", `^the next waits for ever `, afterKilledHolder},
	{"a holder is stopped", "stopped", `^a reader waits `, besideStoppedHolder},
	{"killed in mid-change", "halfway", `^x = 2 beside y = 1, and nobody is told$`, afterHalfAChange},
	{"two do v.value += 1", "lost", `^lost [1-9][\d,]* of 40,000$`, afterManyAdditions},
	{"a struct read while written", "torn", `^x = [\d,]+ beside y = `, besideWriter},
	{"a slice assignment fails", "failed", `^\[1, 2, 0\]: two of three written$`, afterFailedChange},
	{"/dev/shm is full", "full", `^killed by SIGBUS$`, onFullFilesystem},
	{"freed, and a child uses it", "reused", `^666 .* 10 into 666$`, afterClose},
	{"two disagree about a type", "mistaken", `^1.5 is read as 4,609,`, withAnotherType},
}

// rare is what a script says that did not see in its time what is likely, not
// certain.
const rare = "not seen in 20 s"

// TestBetter prints a table with -v, which docs/sharedctypes.md shows.
func TestBetter(t *testing.T) {
	python := findMultiprocessing(t)
	rows := make([]string, len(better))
	t.Run("case", func(t *testing.T) {
		for i, b := range better {
			t.Run(b.script, func(t *testing.T) {
				t.Parallel()
				theirs := runScript(t, python, b.script)
				if theirs == rare {
					t.Logf("%s: %s with CPython", b.what, rare)
				} else if !regexp.MustCompile(b.theirs).MatchString(theirs) {
					t.Errorf("%s: CPython: %q", b.what, theirs)
				}
				rows[i] = b.what + "\t" + theirs + "\t" + b.ours(t)
			})
		}
	})
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\t%s\there\n", must(exec.Command(python, "-c", "import platform; print(platform.python_implementation(), platform.python_version(), end='')").Output())(t))
	for _, row := range rows {
		if row != "" { // not skipped
			fmt.Fprintln(w, row)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(t.Output(), table.String())
	page := string(must(os.ReadFile("docs/sharedctypes.md"))(t))
	_, page, _ = strings.Cut(page, "<!-- better -->\n\n")
	page, _, _ = strings.Cut(page, "\n\n")
	shown := map[string]bool{}
	for line := range strings.Lines(page) {
		shown[withoutNumbers(line)] = true
	}
	for line := range strings.Lines(table.String()) {
		if line = withoutNumbers(line); !shown[line] && !strings.Contains(line, withoutNumbers(rare)) {
			t.Errorf("docs/sharedctypes.md does not show %q", line)
		}
	}
	if len(shown) != len(better)+1 {
		t.Errorf("docs/sharedctypes.md shows %d lines for %d cases and a head", len(shown), len(better))
	}
}

// TestSharedctypesPython runs the Python of docs/sharedctypes.md, and wants all that
// the module of this CPython has to be in the page's tables.
func TestSharedctypesPython(t *testing.T) {
	t.Parallel()
	runScript(t, findMultiprocessing(t), "page", "docs/sharedctypes.md")
}

// withoutNumbers leaves of a line what is the same in each run: no number, nor
// the width of a column.
func withoutNumbers(line string) string {
	line = regexp.MustCompile(`\d[\d,.]*`).ReplaceAllString(line, "#")
	return strings.Join(strings.Fields(line), " ")
}

// findMultiprocessing skips the test where there is no CPython with shared
// memory.
func findMultiprocessing(t *testing.T) string {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3: ", err)
	}
	check := "import sys, doctest, multiprocessing.shared_memory\n" +
		"from multiprocessing import Lock, sharedctypes\nLock()\n" +
		"sys.exit(sys.version_info < (3, 9) and 'older than 3.9' or sys.implementation.name != 'cpython' and 'no CPython' or sys.maxsize < 2**32 and '32 bits' or None)"
	if out, err := exec.Command(python, "-c", check).CombinedOutput(); err != nil {
		t.Skipf("%s is no use: %v: %s", python, err, bytes.TrimSpace(out))
	}
	return python
}

// runScript runs a script of testdata/sharedctypes, and returns what it prints.
func runScript(t *testing.T, python, script string, args ...string) string {
	t.Helper()
	args = append([]string{python, filepath.Join("testdata", "sharedctypes", script+".py")}, args...)
	for _, file := range args[1:] { // which go test does not see Python read, and would not run the test again for
		must(os.Stat(file))(t)
	}
	if script == "full" {
		p := startNamespaced(t, onSmall, args...)
		defer p.wait()
		return p.line()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.WaitDelay = time.Second // for what it has started
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

// onSmall becomes another program, with a /dev/shm of its own of 1 MiB.
var onSmall = helper("onSmall", func(args []string) error {
	if err := small("1m"); err != nil {
		return err
	}
	return syscall.Exec(args[0], args, os.Environ())
})

func afterKilledHolder(t *testing.T) string {
	name, v := locked(t)
	holder := startAgent(t, name)
	holder.must("lock", "locked")
	holder.kill()
	within(t, "the lock of a dead holder", v.Mutex().Lock)
	defer v.Mutex().Unlock()
	if !v.Mutex().Abandoned() {
		t.Error("the next one is not told")
	}
	return "the next has the lock, and is told"
}

func besideStoppedHolder(t *testing.T) string {
	name, v := locked(t)
	v.Store(7)
	holder := startAgent(t, name)
	holder.must("lock", "locked")
	holder.stop()
	within(t, "a load beside a stopped holder", func() {
		if x := v.Load(); x != 7 {
			t.Errorf("read %d", x)
		}
	})
	return "a reader reads 7"
}

// ends are to be the same, and far enough apart for a copy to be overtaken.
type ends struct {
	X       float64
	Between [510]float64
	Y       float64
}

// dyingMover is killed between two fields.
var dyingMover = helper("dyingMover", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	p, err := NewStruct(s, "p", ends{})
	if err != nil {
		return err
	}
	p.Update(func(p *ends) {
		p.X = 2
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	})
	return nil
})

func afterHalfAChange(t *testing.T) string {
	name := testName(t)
	p := must(NewStruct(open(t, name, nil), "p", ends{X: 1, Y: 1}))(t)
	mover := start(t, dyingMover, name)
	if err := mover.cmd.Wait(); err == nil || mover.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatal(err)
	}
	is := p.Load()
	if is != (ends{X: 1, Y: 1}) {
		t.Errorf("x = %v beside y = %v", is.X, is.Y)
	}
	return fmt.Sprintf("x = %v beside y = %v, as before", is.X, is.Y)
}

func afterManyAdditions(t *testing.T) string {
	const each = 1_000_000 // enough to be at it at the same time
	name, v := locked(t)
	adders := []*process{startAgent(t, name), startAgent(t, name)}
	for _, p := range adders {
		p.say(fmt.Sprint("add ", each))
	}
	for _, p := range adders {
		p.expect("added")
	}
	lost := 2*each - v.Load()
	if lost != 0 {
		t.Errorf("lost %d", lost)
	}
	return fmt.Sprintf("lost %d of 2,000,000", lost)
}

// mover stores until it is killed.
var mover = helper("mover", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	p, err := NewStruct(s, "p", ends{})
	if err != nil {
		return err
	}
	for i := 0.0; ; i++ {
		p.Store(ends{X: i, Y: i})
	}
})

func besideWriter(t *testing.T) string {
	name := testName(t)
	p := must(NewStruct(open(t, name, nil), "p", ends{}))(t)
	start(t, mover, name)
	eventually(t, "the first store", func() bool { return p.Load().X > 0 })
	first := p.Load()
	for range 1_000_000 {
		if is := p.Load(); is.X != is.Y {
			t.Fatalf("torn: x = %v beside y = %v", is.X, is.Y)
		}
	}
	eventually(t, "a later store", func() bool { return p.Load() != first })
	return "x = y, in 1,000,000 reads"
}

func afterFailedChange(t *testing.T) string {
	a := must(NewStruct(open(t, testName(t), nil), "a", [3]int32{}))(t)
	func() {
		defer func() { _ = recover() }()
		a.Update(func(a *[3]int32) {
			for i, text := range []string{"1", "2", "three"} {
				n, err := strconv.Atoi(text)
				if err != nil {
					panic(err)
				}
				a[i] = int32(n)
			}
		})
	}()
	is := a.Load()
	if is != [3]int32{} {
		t.Errorf("%v", is)
	}
	return fmt.Sprint(is, ": nothing written")
}

// fullSegment has a filesystem that is full, and makes one more array.
var fullSegment = helper("fullSegment", func(args []string) error {
	if err := small("1m"); err != nil {
		return err
	}
	s, err := Open("a", nil)
	if err != nil {
		return err
	}
	if err := fillUp(Path("filler")); err != nil {
		return err
	}
	_, err = fillSegment(s, "v")
	if !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("on a full filesystem: %w", err)
	}
	fmt.Println("an error:", syscall.ENOSPC)
	return nil
})

func onFullFilesystem(t *testing.T) string {
	p := startNamespaced(t, fullSegment)
	defer p.wait()
	return p.line()
}

func afterClose(t *testing.T) string {
	name := testName(t)
	s := open(t, name, nil)
	must(NewValue[int64](s, "n", 1))(t)
	user := startAgent(t, name)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	s = open(t, name, nil)
	price := must(NewRawValue[int64](s, "price", 10))(t)
	user.must("set 666", "set")
	n, other := must(NewValue[int64](s, "n", 0))(t).Load(), price.Get()
	if n != 666 || other != 10 {
		t.Errorf("%d and %d", n, other)
	}
	return fmt.Sprintf("it holds %d, the other Value %d", n, other)
}

func withAnotherType(t *testing.T) string {
	name := testName(t)
	must(NewRawValue(open(t, name, nil), "x", 1.5))(t)
	_, err := NewRawValue[int64](open(t, name, nil), "x", 0)
	var mismatch *LayoutError
	if !errors.As(err, &mismatch) {
		t.Fatal(err)
	}
	return fmt.Sprintf("an error: have %s, want %s", mismatch.Have.Format, mismatch.Want.Format)
}
