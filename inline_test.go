package shm_test

import (
	"bytes"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
)

// fastPaths has the functions of testdata/inline, and how many calls each may
// make when nobody else holds the lock: the methods themselves, where the
// compiler does not inline them, and what they call.
var fastPaths = map[string]int{
	"RawGetInt64":               0,
	"RawGetFloat64":             0,
	"RawSetInt64":               0,
	"RawSetFloat64":             0,
	"RawArrayGetInt64":          0,
	"RawArrayGetFloat64":        0,
	"RawArraySetInt64":          0,
	"AtomicLoadInt64":           0,
	"AtomicLoadInt32":           0,
	"AtomicStoreInt64":          0,
	"AtomicSwapInt64":           0,
	"AtomicCompareAndSwapInt64": 0,
	"AtomicAddInt64":            0,
	"AtomicAddInt32":            0,
	"ValueLoadInt64":            0,
	"ValueLoadFloat64":          0,
	"ValueStoreInt64":           1,
	"ValueAddInt64":             1,
	"ValueAddFloat64":           1,
	"ArrayLoadInt64":            0,
	"ArrayAddInt64":             1,
	"RawStructGet":              0,
	"StructLoad":                1,
	"StructStore":               1,
	"StructLoadTo":              1,
	"StructStoreFrom":           1,
	"RingAppend":                2, // Append, and that of the slots
	"AtomicArrayAddInt64":       0,
	"TableRow":                  0,
	"TableLoad":                 1,
	"TableStore":                1,
	"CounterAddInt64":           0,
	"CounterAddUint64":          0,
	"CounterAddFloat64":         0,
	"CounterLoadInt64":          1,
	"GaugeAddInt64":             2, // Add and addTo
	"GaugeSetInt64":             1,
	"HistogramObserve":          1,
	"MutexLock":                 1,
	"MutexTryLock":              2, // TryLock and mustBeOpen
	"MutexUnlock":               1,
}

// Calls off the fast path: what panics, what waits, what compares because somebody
// awaits a change, what copies the fields
// that only a newer program knows, and what finds the lock of a row.
var (
	slowPath = regexp.MustCompile(`(?i)\.(lockOpen|lockWait|tryLockSlow|unlockSlow|wakeAll|loadSlow|loadToSlow|finish|unlockAfter|fill|same|mustOwn|carry|rowLock|addSlow|show|claim)$|^runtime\.(go)?panic|^runtime\.(memmove$|morestack)`)
	leaf     = regexp.MustCompile(`(?i)\.mustBeOpen$`) // it calls nothing unless it panics
)

// Generic methods are compiled in the package that uses them. Whether they are
// inlined there depends on what this module's packages export of their bodies,
// and a move between packages can make a Get three times slower without any
// other test noticing. So this test compiles a package that uses them, and
// counts the calls in its machine code.
func TestFastPathsInline(t *testing.T) {
	switch {
	case race.Enabled || killpoint.Enabled:
		t.Skip("this build has more to do on the fast paths")
	case runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64":
		t.Skipf("on %s some atomic operations are calls", runtime.GOARCH)
	case testing.Short():
		t.Skip("compiles the package")
	}
	t.Parallel()
	shmtest.Root(t)
	out, err := exec.Command(shmtest.Tool(t, "go"), "build", "-gcflags=example.org/shm/...=-S -m=2", "./testdata/inline").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	code := callsOf(out)
	for function, want := range fastPaths {
		name := "example.org/shm/testdata/inline." + function
		if code[name] == nil {
			t.Errorf("no machine code of %s", function)
			continue
		}
		if fast := code.fastCalls(name); len(fast) > want {
			t.Errorf("%s makes %d calls, want at most %d:\n\t%s", function, len(fast), want, strings.Join(fast, "\n\t"))
		}
	}
	for name := range code {
		if function, ours := strings.CutPrefix(name, "example.org/shm/testdata/inline."); ours && function != "init" {
			if _, listed := fastPaths[function]; !listed {
				t.Errorf("fastPaths lacks %s", function)
			}
		}
	}
	if t.Failed() {
		t.Logf("what the compiler did not inline:\n%s", refusals(out))
	}
}

// machineCode has the functions that each function calls, in order.
type machineCode map[string][]string

var (
	functionStart = regexp.MustCompile(`^(\S.*) STEXT `)
	call          = regexp.MustCompile(`\tCALL\t(.*)$`)
)

// callsOf reads what the compiler prints for -S.
func callsOf(listing []byte) machineCode {
	code := machineCode{}
	var current string
	for line := range bytes.Lines(listing) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if m := functionStart.FindSubmatch(line); m != nil {
			current = string(m[1])
			code[current] = []string{}
		} else if m := call.FindSubmatch(line); m != nil {
			code[current] = append(code[current], strings.TrimSuffix(string(m[1]), "(SB)"))
		}
	}
	return code
}

// fastCalls returns the functions that a function calls on its fast path, and
// those that they call on theirs.
func (code machineCode) fastCalls(name string) []string {
	fast := []string{name}
	for i := 0; i < len(fast); i++ {
		if leaf.MatchString(fast[i]) {
			continue
		}
		for _, callee := range code[fast[i]] {
			if !slowPath.MatchString(callee) && !slices.Contains(fast, callee) {
				fast = append(fast, callee)
			}
		}
	}
	return fast[1:]
}

// refusals returns what the compiler does not inline, and why.
func refusals(listing []byte) string {
	lines := regexp.MustCompile(`(?m)^.*: cannot inline .*(\[go\.shape\.int64\]|\(\*(Mutex|Lock)\)).*$`).FindAllString(string(listing), -1)
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "\n")
}
