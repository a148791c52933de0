package interop_test

import (
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

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// better lists failures of multiprocessing.sharedctypes. Each script of
// testdata/sharedctypes shows one of them in the installed CPython, and prints a
// line that matches theirs. ours does the same with shm and returns what happens.
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

// rare is what a script prints if it did not see the failure in its time, because
// that is likely but not certain.
const rare = "not seen in 20 s"

// TestBetter compares CPython and shm. With -v it prints a table, which
// docs/sharedctypes.md shows.
func TestBetter(t *testing.T) {
	t.Parallel()
	python := shmtest.Python(t, shmtest.PythonMultiprocessing)
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
	fmt.Fprintf(w, "\t%s\there\n", shmtest.Must(python.Command("-c", "import platform; print(platform.python_implementation(), platform.python_version(), end='')").Output())(t))
	for _, row := range rows {
		if row != "" { // not skipped
			fmt.Fprintln(w, row)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(t.Output(), table.String())
	page := string(shmtest.Must(os.ReadFile(sharedctypesPage(t)))(t))
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

// TestSharedctypesPython runs the Python code of docs/sharedctypes.md, and checks
// that the page's tables have all that the module of this CPython has.
func TestSharedctypesPython(t *testing.T) {
	t.Parallel()
	runScript(t, shmtest.Python(t, shmtest.PythonMultiprocessing), "page", sharedctypesPage(t))
}

func sharedctypesPage(t *testing.T) string {
	t.Helper()
	return filepath.Join(shmtest.Root(t), "docs", "sharedctypes.md")
}

// withoutNumbers returns the part of a line that is the same in each run. It leaves
// out numbers and the width of columns.
func withoutNumbers(line string) string {
	line = regexp.MustCompile(`\d[\d,.]*`).ReplaceAllString(line, "#")
	return strings.Join(strings.Fields(line), " ")
}

// runScript runs a script of testdata/sharedctypes, and returns what it prints.
func runScript(t *testing.T, python shmtest.Interpreter, script string, args ...string) string {
	t.Helper()
	args = append([]string{filepath.Join("testdata", "sharedctypes", script+".py")}, args...)
	for _, file := range args { // go test does not see that Python reads them.
		shmtest.Must(os.Stat(file))(t)
	}
	if script == "full" {
		p := shmtest.StartCmd(t, onSmall, shmtest.InNamespace(t), append([]string{python.Path}, args...)...)
		defer p.Wait()
		return p.Line()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python.Path, args...)
	cmd.WaitDelay = time.Second // The script may have started processes.
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

// onSmall becomes another program, which has a /dev/shm of its own of 1 MiB.
var onSmall = shmtest.Helper("onSmall", func(args []string) error {
	if err := shmtest.MountShared("1m"); err != nil {
		return err
	}
	return syscall.Exec(args[0], args, os.Environ())
})

func afterKilledHolder(t *testing.T) string {
	s, v := agent.Locked(t)
	holder := agent.Start(t, s.Name())
	holder.Do("lock", "locked")
	holder.Kill()
	shmtest.Within(t, "the lock of a dead holder is taken", v.Mutex().Lock)
	defer v.Mutex().Unlock()
	if !v.Mutex().Abandoned() {
		t.Error("the next one is not told")
	}
	return "the next has the lock, and is told"
}

func besideStoppedHolder(t *testing.T) string {
	s, v := agent.Locked(t)
	v.Store(7)
	holder := agent.Start(t, s.Name())
	holder.Do("lock", "locked")
	holder.Stop()
	shmtest.Within(t, "a load beside a stopped holder", func() {
		if x := v.Load(); x != 7 {
			t.Errorf("read %d", x)
		}
	})
	return "a reader reads 7"
}

// ends is a struct whose X and Y are always to be equal. They are so far apart
// that a store can overtake a copy.
type ends struct {
	X       float64
	Between [510]float64
	Y       float64
}

// dyingMover is killed after it has changed one of two fields.
var dyingMover = shmtest.Helper("dyingMover", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	p, err := shm.NewStruct(s, "p", ends{})
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
	name := shmtest.Name(t)
	p := shmtest.Must(shm.NewStruct(shmtest.Opened(shm.Open(name, nil))(t), "p", ends{X: 1, Y: 1}))(t)
	mover := shmtest.Start(t, dyingMover, name)
	if err := mover.Cmd.Wait(); err == nil || mover.Cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatal(err)
	}
	is := p.Load()
	if is != (ends{X: 1, Y: 1}) {
		t.Errorf("x = %v beside y = %v", is.X, is.Y)
	}
	return fmt.Sprintf("x = %v beside y = %v, as before", is.X, is.Y)
}

func afterManyAdditions(t *testing.T) string {
	const each = 1_000_000 // so many that the processes run at the same time
	s, v := agent.Locked(t)
	adders := []*shmtest.Process{agent.Start(t, s.Name()), agent.Start(t, s.Name())}
	for _, p := range adders {
		p.Say(fmt.Sprint("add ", each))
	}
	for _, p := range adders {
		p.Expect("added")
	}
	lost := 2*each - v.Load()
	if lost != 0 {
		t.Errorf("lost %d", lost)
	}
	return fmt.Sprintf("lost %d of 2,000,000", lost)
}

// mover stores equal numbers until it is killed.
var mover = shmtest.Helper("mover", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	p, err := shm.NewStruct(s, "p", ends{})
	if err != nil {
		return err
	}
	for i := 0.0; ; i++ {
		p.Store(ends{X: i, Y: i})
	}
})

func besideWriter(t *testing.T) string {
	name := shmtest.Name(t)
	p := shmtest.Must(shm.NewStruct(shmtest.Opened(shm.Open(name, nil))(t), "p", ends{}))(t)
	shmtest.Start(t, mover, name)
	shmtest.Eventually(t, "the first store", func() bool { return p.Load().X > 0 })
	first := p.Load()
	for range 1_000_000 {
		if is := p.Load(); is.X != is.Y {
			t.Fatalf("torn: x = %v beside y = %v", is.X, is.Y)
		}
	}
	shmtest.Eventually(t, "a later store", func() bool { return p.Load() != first })
	return "x = y, in 1,000,000 reads"
}

func afterFailedChange(t *testing.T) string {
	a := shmtest.Must(shm.NewStruct(shmtest.Opened(shm.Open(shmtest.Name(t), nil))(t), "a", [3]int32{}))(t)
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

// fullSegment makes arrays until a full filesystem refuses one.
var fullSegment = shmtest.Helper("fullSegment", func(args []string) error {
	if err := shmtest.MountShared("1m"); err != nil {
		return err
	}
	s, err := shm.Open("a", nil)
	if err != nil {
		return err
	}
	if err := fillUp(shm.Path("filler")); err != nil {
		return err
	}
	for i := 0; ; i++ {
		a, err := shm.NewRawArray[uint64](s, fmt.Sprint(i), 100)
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("on a full filesystem: %w", err)
		}
		if err != nil {
			fmt.Println("an error:", syscall.ENOSPC)
			return nil
		}
		for j := range a.Len() {
			a.Set(j, uint64(i))
		}
	}
})

// fillUp writes a file until the filesystem is full.
func fillUp(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return nil
}

func onFullFilesystem(t *testing.T) string {
	p := shmtest.StartCmd(t, fullSegment, shmtest.InNamespace(t))
	defer p.Wait()
	return p.Line()
}

func afterClose(t *testing.T) string {
	name := shmtest.Name(t)
	s := shmtest.Opened(shm.Open(name, nil))(t)
	shmtest.Must(shm.NewValue[int64](s, "n", 1))(t)
	user := agent.Start(t, name)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	s = shmtest.Opened(shm.Open(name, nil))(t)
	price := shmtest.Must(shm.NewRawValue[int64](s, "price", 10))(t)
	user.Do("set 666", "set")
	n, other := shmtest.Must(shm.NewValue[int64](s, "n", 0))(t).Load(), price.Get()
	if n != 666 || other != 10 {
		t.Errorf("%d and %d", n, other)
	}
	return fmt.Sprintf("it holds %d, the other Value %d", n, other)
}

func withAnotherType(t *testing.T) string {
	name := shmtest.Name(t)
	shmtest.Must(shm.NewRawValue(shmtest.Opened(shm.Open(name, nil))(t), "x", 1.5))(t)
	_, err := shm.NewRawValue[int64](shmtest.Opened(shm.Open(name, nil))(t), "x", 0)
	var mismatch *shm.LayoutError
	if !errors.As(err, &mismatch) {
		t.Fatal(err)
	}
	return fmt.Sprintf("an error: have %s, want %s", mismatch.Have.Format, mismatch.Want.Format)
}
