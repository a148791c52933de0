package main

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/value"
	"golang.org/x/sys/unix"
)

// Wait ends with the exit status 3 when its segment is removed or made anew, whatever it
// waits for.
func TestWaitEndsWithTheName(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		name := filepath.Join(t.TempDir(), "workers")
		s, err := shm.Open(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := shm.NewStruct(s, "cfg", worker{}); err != nil {
			t.Fatal(err)
		}
		waits := []*run{prepare(t, "wait", name, "cfg", "cfg.Jobs == 99"), prepare(t, "wait", name, "nothing")}
		for _, r := range waits {
			if err := r.Start(); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "both have attached", func() bool {
			for _, r := range waits {
				maps, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(r.Process.Pid), "maps"))
				if err != nil || !strings.Contains(string(maps), name) {
					return false
				}
			}
			return true
		})
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if again {
			other, err := shm.Open(name, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
		}
		for _, r := range waits {
			if status := r.status(); status != statusAbsent || !strings.Contains(r.stderr.String(), name) {
				t.Errorf("made anew: %v: exit status %d, %q", again, status, &r.stderr)
			}
		}
	}
}

// What has no value is refused, and so is the name of a part.
func TestWaitRefusals(t *testing.T) {
	t.Parallel()
	name, _, _ := workers(t)
	s, err := shm.Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := shm.NewMutex(s, "lock"); err != nil {
		t.Fatal(err)
	}
	if _, err := shm.NewMutexes(s, "locks", 3); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"lock", "value == 1"}, "no value"},
		{[]string{"locks", "true"}, "no value"},
		{[]string{"workers[1].Jobs", "value > 3"}, "value[1].Jobs"},
		{[]string{"workers[1]"}, "part of the value workers"},
	} {
		r := shmTool(t, append([]string{"wait", "-timeout", "10s", name}, c.args...)...)
		if r.status != statusUsage || !strings.Contains(r.stderr, c.says) || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("wait %q: exit status %d, %q", c.args, r.status, r.stderr)
		}
	}
	if r := shmTool(t, "wait", "-timeout", "10s", name, "lock"); r.status != 0 {
		t.Errorf("a lock without an expression: %+v", r)
	}
}

// When the time is up, wait says what it has waited for, how long, and what there is.
func TestWaitSaysWhatItWaitedFor(t *testing.T) {
	t.Parallel()
	name := fixture(t)
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"requests", "requests > 100"}, "requests is 41 requests, for which requests > 100 is not true"},
		{[]string{"uptime", "value\n> 1e20"}, `uptime is 1m30s, for which "value\n> 1e20" is not true`},
		{[]string{"nothing"}, "no program has made the value nothing in " + name},
		{[]string{"nothing", "nothing > 1"}, "no program has made the value nothing in " + name},
	} {
		r := shmTool(t, append([]string{"wait", "-timeout", "60ms", name}, c.args...)...)
		if want := "shm: gave up after 60ms: " + c.says + "\n"; r.status != statusLocked || r.stderr != want || r.stdout != "" {
			t.Errorf("wait %q: exit status %d, %q, %q; want %q", c.args, r.status, r.stdout, r.stderr, want)
		}
	}
	if r := shmTool(t, "wait", "-timeout", "60ms", "-o", "json", name, "nothing"); r.status != statusLocked || !strings.Contains(r.stderr, `"gave up after 60ms: no program`) || !strings.Contains(r.stderr, `"kind":"locked","status":5`) {
		t.Errorf("as JSON: %+v", r)
	}
}

// On a filesystem that is mounted read-only, wait looks as one that may only read does.
func TestWaitOnAReadOnlyFilesystem(t *testing.T) {
	t.Parallel()
	name := fixture(t)
	dir := filepath.Dir(name)
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Skip("this user may not mount: ", err)
	}
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skip("it cannot be mounted read-only: ", err)
	}
	if r := shmTool(t, "wait", "-timeout", "1m", name, "requests", "requests == 41"); r.status != 0 || r.stdout != "41\n" {
		t.Errorf("what is true: %+v", r)
	}
	if r := shmTool(t, "wait", "-timeout", "60ms", name, "load", "load > 9"); r.status != statusLocked {
		t.Errorf("what is not: %+v", r)
	}
	if r := shmTool(t, "set", name, "config.Limit=3"); r.status != statusFailed || !strings.Contains(r.stderr, "read-only") {
		t.Errorf("set: %+v", r)
	}
}

// Numbers that need all 64 bits compare as numbers.
func TestExpressionsCompareLargeNumbers(t *testing.T) {
	const most = math.MaxUint64
	x := map[string]any{"Big": uint64(most), "Small": uint64(7), "All": []uint64{1, most}, "In": []map[string]any{{"N": uint64(1 << 63)}}, "I": int32(-1), "F": 0.5}
	for text, want := range map[string]bool{
		"x.Big > 5": true, "x.Big < 5": false, "x.Big >= 9223372036854775807": true, "x.Big == 5": false, "x.Big != 5": true,
		"5 < x.Big": true, "-1 > x.Small": false, "x.Small > -1": true, "x.Big > x.Small": true, "x.Big == value.Big": true,
		"x.Small == 7": true, "x.Small != 7": false, "x.Big > 1e19": true, "x.Big < 1e20": true, "x.Small <= 7.5": true,
		"x.All[1] > 5": true, "x.All[0] < 2": true, "x.In[0].N > 9223372036854775807": true, "any(x.All, # > 5)": true,
		"x.Small + 1 == 8": true, "x.I < 0": true, "x.F < 1": true, "x.Small in x.All": false,
	} {
		condition, err := conditionOf("x", text, x)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := condition(x); err != nil || got != want {
			t.Errorf("%s is %v, want %v: %v", text, got, want, err)
		}
	}
	condition, err := conditionOf("x", "x.Big + 1 > 5", x)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := condition(x); err == nil {
		t.Errorf("a sum that does not fit is %v", got)
	}
	// Alone it is as in a struct.
	condition, err = conditionOf("u64", "u64 > 5", uint64(1))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := condition(uint64(most)); !got || err != nil {
		t.Errorf("the largest number: %v, %v", got, err)
	}
}

// A sum of finite numbers that is not finite is refused.
func TestSumsOfFloats(t *testing.T) {
	inf := math.Inf(1)
	for _, c := range []struct {
		old   any
		delta string
		want  string
	}{
		{float32(0), "1e39", ""}, {float32(0), "1e38", "1e+38"}, {float32(3e38), "3e38", ""}, {1e308, "1e308", ""}, {1.0, "NaN", ""},
		{1.0, "-Inf", ""}, {1.0, "0.5", "1.5"}, {inf, "1", "+Inf"}, {math.NaN(), "1", "NaN"}, {float32(1), "1e-50", "1"},
	} {
		got, err := sum(c.old, c.delta, "")
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%v plus %s is %q, want %q: %v", c.old, c.delta, got, c.want, err)
		}
	}
	s, err := shm.Anonymous(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	counter, err := shm.NewCounter[float64](s, "counter")
	if err != nil {
		t.Fatal(err)
	}
	p, err := value.Find(s, "counter")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := count(s, p, "NaN", shm.NewCounter[float64]); err == nil || counter.Load() != 0 {
		t.Errorf("a counter plus NaN: %v, %v", counter.Load(), err)
	}
}
