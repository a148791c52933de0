package main

import (
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/shm"
)

// inner is a struct in a struct.
type inner struct {
	X int16
	F float32
}

// rare has values that a text or JSON loses easily.
type rare struct {
	Text      shm.RawStruct[[8]byte] `shm:"text,hint=text"`
	NoUTF8    shm.RawStruct[[8]byte] `shm:"no utf8,hint=text"`
	Behind    shm.RawStruct[[8]byte] `shm:"behind,hint=text"`
	String    shm.String             `shm:"string,len=16"`
	Chars     shm.CharArray          `shm:"chars,len=8"`
	Minus     shm.Value[float64]     `shm:"minus 0"`
	Infinite  shm.Value[float64]     `shm:"infinite"`
	NaN       shm.Value[float64]     `shm:"nan"`
	NaN32     shm.Value[float32]     `shm:"nan32"`
	Signaling shm.Value[float32]     `shm:"signaling"`
	Complex   shm.RawValue[complex64]
	Least     shm.Atomic[int64]
	Most      shm.Atomic[uint64]
	Float32   shm.Value[float32]
	Rows      shm.Table[struct {
		Name [4]byte `shm:"name,char"`
		In   [2]inner
	}] `shm:"rows,len=2"`
}

// fill gives all of them a value.
func (r *rare) fill(t *testing.T) {
	t.Helper()
	r.Text.Set([8]byte{'a', '\n', '"'})
	r.NoUTF8.Set([8]byte{0xff, 'b'})
	r.Behind.Set([8]byte{'a', 0, 'b'})
	if err := r.String.Store("a\nb\"é\u202e"); err != nil {
		t.Fatal(err)
	}
	if err := r.Chars.SetValue("\xff\x1b"); err != nil {
		t.Fatal(err)
	}
	r.Minus.Store(math.Copysign(0, -1))
	r.Infinite.Store(math.Inf(-1))
	r.NaN.Store(math.Float64frombits(0x7ff8000000000123))
	r.NaN32.Store(math.Float32frombits(0xffc00123))
	r.Signaling.Store(math.Float32frombits(0x7f800123))
	r.Complex.Set(complex(float32(math.Inf(1)), math.Float32frombits(0x7fc00123)))
	r.Least.Store(math.MinInt64)
	r.Most.Store(math.MaxUint64)
	r.Float32.Store(16777217.1e9)
	row := r.Rows.Row(1).Load()
	row.Name, row.In[1] = [4]byte{'x', 0xfe}, inner{-3, 0.1}
	r.Rows.Row(1).Store(row)
}

// textsOf returns what the library says of each value.
func textsOf(s *shm.Segment) map[string]string {
	all := map[string]string{}
	for e := range s.Entries() {
		all[e.Name] = e.Text()
		if _, bytes := e.Any().([]uint8); bytes {
			for part := range e.Parts() {
				b, _, _ := e.Bytes(part)
				all[e.Name] += string(b)
			}
		}
	}
	return all
}

// A dump that is loaded makes all values what they were, bit by bit.
func TestDumpAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rare")
	s, err := shm.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var r rare
	if err := shm.Bind(s, &r); err != nil {
		t.Fatal(err)
	}
	empty := textsOf(s)
	dumpOf := func(name string) string {
		file := path + "-" + name
		if err := os.WriteFile(file, []byte(shmTool(t, "dump", path).stdout), 0o666); err != nil {
			t.Fatal(err)
		}
		return file
	}
	none := dumpOf("none")
	r.fill(t)
	full, whole := textsOf(s), dumpOf("whole")
	for _, step := range []struct {
		file string
		want map[string]string
	}{{none, empty}, {whole, full}, {none, empty}} {
		load := shmTool(t, "load", path, step.file)
		if got := textsOf(s); load.status != 0 || !maps.Equal(got, step.want) {
			t.Errorf("load: %+v\n%q, want\n%q", load, got, step.want)
		}
		if diff := shmTool(t, "diff", path, step.file); diff.status != 0 {
			t.Errorf("diff: %+v", diff)
		}
		if again := shmTool(t, "load", "-n", path, step.file); again.stdout != "nothing differs\n" {
			t.Errorf("load again: %+v", again)
		}
	}
}

// As text, what is empty is an empty line, and nothing is cut.
func TestTextIsForScripts(t *testing.T) {
	seg := fixture(t)
	before := seg + ".json"
	if err := os.WriteFile(before, []byte(shmTool(t, "dump", seg).stdout), 0o666); err != nil {
		t.Fatal(err)
	}
	many := "[" + strings.Repeat("7, ", 63) + "7]"
	if r := shmTool(t, "set", seg, "version=", "tag=", "lots="+many, "odd name.x[1]=2="+strings.Repeat("y", 16)); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	if r := shmTool(t, "get", seg, "version", "requests", "tag"); r.stdout != "\n41\n\n" {
		t.Errorf("get: %+v", r)
	}
	if r := shmTool(t, "wait", seg, "version", `version == ""`); r.stdout != "\n" {
		t.Errorf("wait: %+v", r)
	}
	compact := strings.ReplaceAll(many, " ", "")
	load := shmTool(t, "load", "-n", "-o", "text", seg, before)
	if want := "lots\t" + compact + "\t" + strings.ReplaceAll(compact, "7", "0") + "\n"; !strings.Contains(load.stdout, want) {
		t.Errorf("load: %+v", load)
	}
	if r := shmTool(t, "load", "-n", seg, before); !strings.Contains(r.stdout, "…") {
		t.Errorf("the table of load: %+v", r)
	}
	text := strings.Repeat("long", 30)
	s, err := shm.Open(seg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	long, err := shm.NewString(s, "long", len(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(before, []byte(shmTool(t, "dump", seg).stdout), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := long.Store(text); err != nil {
		t.Fatal(err)
	}
	if r := shmTool(t, "diff", "-o", "text", before, seg); r.stdout != "long\tvalue\t\"\"\t\""+text+"\"\n" {
		t.Errorf("diff: %+v", r)
	}
}

// If load gives up on one of several values, it tells which it has set before. If one cannot
// be what the dump says, it sets none.
func TestLoadTellsWhatItHasLoaded(t *testing.T) {
	seg := filepath.Join(t.TempDir(), "some")
	s, err := shm.Open(seg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var b struct{ A, B, C shm.Value[int8] }
	if err := shm.Bind(s, &b); err != nil {
		t.Fatal(err)
	}
	dump := shmTool(t, "dump", seg).stdout
	write := func(name, value string) string {
		file := seg + "-" + name
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(dump, `"value": 0`, `"value": `+value)), 0o666); err != nil {
			t.Fatal(err)
		}
		return file
	}
	b.A.Store(1)
	for _, value := range []string{"1000", "1.5", `"x"`, "[1]"} {
		file := write("wrong", value)
		for _, args := range [][]string{{"load", seg, file}, {"load", "-n", seg, file}} {
			if r := shmTool(t, args...); r.status != statusFailed || r.stdout != "" || !strings.Contains(r.stderr, "value A of the dump") || b.A.Load() != 1 {
				t.Errorf("%s: %+v; A is %d", value, r, b.A.Load())
			}
		}
	}
	file := write("right", "7")
	b.B.Mutex().Lock()
	defer b.B.Mutex().Unlock()
	r := shmTool(t, "load", "-timeout", "50ms", "-o", "text", seg, file)
	if r.status != statusLocked || r.stdout != "A\t1\t7\n" || !strings.Contains(r.stderr, "lock of B") || b.A.Load() != 7 || b.C.Load() != 0 {
		t.Errorf("%+v; A is %d, C is %d", r, b.A.Load(), b.C.Load())
	}
}

// What is too large to be shown is mentioned by dump, load and diff.
func TestValuesThatAreNotInTheDump(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large")
	s, err := shm.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := shm.NewRawArray[uint8](s, "large", 17<<20); err != nil {
		t.Fatal(err)
	}
	r := shmTool(t, "dump", path)
	if r.status != 0 || !strings.Contains(r.stderr, "shm: large is not in the dump: ") {
		t.Errorf("dump: %d, %s", r.status, r.stderr)
	}
	file := path + ".json"
	if err := os.WriteFile(file, []byte(r.stdout), 0o666); err != nil {
		t.Fatal(err)
	}
	if r := shmTool(t, "load", path, file); r.status != 0 || !strings.Contains(r.stdout, "large has no value in the dump and is left alone") {
		t.Errorf("load: %+v", r)
	}
	if r := shmTool(t, "diff", path, file); r.status != statusFailed || !strings.Contains(r.stdout, "not compared") {
		t.Errorf("diff: %+v", r)
	}
}

// Check of several segments tells what it has found, also if one of them cannot be read.
func TestCheckOfSeveral(t *testing.T) {
	seg := fixture(t)
	absent, broken := seg+"-absent", seg+"-broken"
	if err := os.WriteFile(broken, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		names  []string
		status int
	}{
		{[]string{absent}, statusAbsent}, {[]string{seg, absent}, statusAbsent}, {[]string{absent, seg, broken}, statusDamaged},
	} {
		r := shmTool(t, append([]string{"check", "-quick", "-o", "json"}, c.names...)...)
		if r.status != c.status {
			t.Errorf("%v: %+v", c.names, r)
		}
		for _, name := range c.names {
			want := `"segment": "` + name + `"`
			if len(c.names) > 1 && !strings.Contains(r.stdout, want) {
				t.Errorf("%v: nothing of %s in\n%s", c.names, name, r.stdout)
			}
		}
		if strings.Contains(r.stdout, `"damaged": true`) != (c.status == statusDamaged) {
			t.Errorf("%v: %s", c.names, r.stdout)
		}
	}
}

// Each row of a Table has a lock. If load gives up on one, it prints the rows that it has set.
func TestLoadOfRows(t *testing.T) {
	seg := filepath.Join(t.TempDir(), "rows")
	s, err := shm.Open(seg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rows, err := shm.NewTable[struct{ N int64 }](s, "rows", 3)
	if err != nil {
		t.Fatal(err)
	}
	file := seg + ".json"
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(shmTool(t, "dump", seg).stdout, `"N": 0`, `"N": 7`)), 0o666); err != nil {
		t.Fatal(err)
	}
	holder := rows.Row(1).Mutex()
	holder.Lock()
	r := shmTool(t, "load", "-timeout", "50ms", "-o", "text", seg, file)
	if want := "rows\t[{\"N\":0},{\"N\":0},{\"N\":0}]\t[{\"N\":7},{\"N\":0},{\"N\":0}]\n"; r.status != statusLocked || r.stdout != want {
		t.Errorf("%+v, want %s", r, want)
	}
	const gaveUp = "gave up on the lock of rows[1], which is held by "
	if !strings.Contains(r.stderr, gaveUp) || !strings.Contains(r.stderr, "this row was not changed") {
		t.Error(r.stderr)
	}
	if r := shmTool(t, "set", "-timeout", "50ms", seg, "rows[1].N=3"); r.status != statusLocked || !strings.Contains(r.stderr, gaveUp) {
		t.Errorf("set: %+v", r)
	}
	if r := shmTool(t, "load", "-timeout", "50ms", "-o", "text", seg, file); r.status != statusLocked || r.stdout != "" {
		t.Errorf("when the rows before are as in the dump: %+v", r)
	}
	holder.Unlock()
	if r := shmTool(t, "load", seg, file); r.status != 0 || rows.Row(2).Load().N != 7 {
		t.Errorf("%+v", r)
	}
}
