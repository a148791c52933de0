package main

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// update makes the tests write what the tool prints, for looking at it with git diff.
var update = flag.Bool("update", false, "write testdata/*.golden")

// golden compares a text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s (go test -update writes it):\n%s\nwant\n%s", file, got, want)
	}
	// No terminal interprets anything in it.
	if i := strings.IndexFunc(got, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) && r != '\t' }); i >= 0 {
		t.Errorf("%s has a character that is not printable at byte %d: %q", file, i, got[i:min(i+20, len(got))])
	}
}

// TestGolden compares what each command prints, in each form, with what it should.
// SEG stands for the segment, and OTHER for one with other values.
func TestGolden(t *testing.T) {
	seg, other := fixture(t), fixture(t)
	dump := filepath.Join(filepath.Dir(seg), "board.json")
	r := shmTool(t, "dump", seg)
	if err := os.WriteFile(dump, []byte(r.stdout), 0o666); err != nil || r.status != 0 {
		t.Fatalf("%v, %+v", err, r)
	}
	if r := shmTool(t, "set", other, "config.Limit=9", "samples[3]=5", "load=1e30", "tag=xyz"); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	for _, c := range []struct {
		name, args string
		status     int
	}{
		{"ls", "ls SEG", 0},
		{"ls-glob", "ls -o text SEG s* config", 0},
		{"ls-json", "ls -o json SEG", 0},
		{"ls-jsonl", "ls -o jsonl SEG l* version", 0},
		{"get", "get SEG requests load uptime started cache version config samples[1] config.name config.Grid[1].X lots[63] tag lock", 0},
		{"get-table", "get -o table SEG cache uptime config.Limit", 0},
		{"get-json", "get -o json SEG config samples tag lock uptime config.Grid", 0},
		{"locks", "locks -i 1ms -a SEG", 0},
		{"locks-none", "locks -i 1ms SEG", 0},
		{"locks-json", "locks -i 1ms -a -o json SEG", 0},
		{"ps-none", "ps SEG", 0},
		{"check", "check -quick SEG", 0},
		{"check-json", "check -quick -o json SEG", 0},
		{"dump", "dump SEG", 0},
		{"diff", "diff DUMP OTHER", 1},
		{"diff-json", "diff -o json SEG OTHER", 1},
		{"diff-none", "diff DUMP SEG", 0},
		{"load-dry", "load -n OTHER DUMP", 0},
		{"load-dry-json", "load -n -o json OTHER DUMP", 0},
		{"rm-dry", "rm -n SEG", 0},
		{"rm-dry-json", "rm -n -o json SEG", 0},
	} {
		var args []string
		for _, arg := range strings.Fields(c.args) {
			args = append(args, strings.NewReplacer("SEG", seg, "OTHER", other, "DUMP", dump).Replace(arg))
		}
		r := shmTool(t, args...)
		if r.status != c.status {
			t.Errorf("shm %s: exit status %d, want %d; %s", c.args, r.status, c.status, r.stderr)
		}
		golden(t, c.name, steady(t, steady(t, r.stdout, seg), other))
		if strings.Contains(c.name, "json") || c.name == "dump" {
			for i, doc := 0, json.NewDecoder(strings.NewReader(r.stdout)); doc.More(); i++ {
				var v struct{ Schema int }
				if err := doc.Decode(&v); err != nil || v.Schema != 1 {
					t.Errorf("shm %s: document %d has schema %d: %v", c.args, i, v.Schema, err)
				}
			}
		}
	}
}

// TestChanges runs the commands that change something, one after the other.
func TestChanges(t *testing.T) {
	seg := fixture(t)
	dump := filepath.Join(filepath.Dir(seg), "board.json")
	if err := os.WriteFile(dump, []byte(shmTool(t, "dump", seg).stdout), 0o666); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, c := range []struct {
		status int
		args   []string
	}{
		{0, []string{"set", "SEG", "config.Limit=10", "config.Debug=true", `version=2.2 (hot "fix")`, "samples[0]=0x1f", "config.Grid[1].Y=-3"}},
		{0, []string{"set", "SEG", "uptime=1h30m", "started=2026-02-03T04:05:06.5Z", "tag=tagged", "config.name=b", "lots[5]=255"}},
		{0, []string{"set", "-o", "json", "SEG", `config={"Limit": 11, Grid: [0: {X: 2}]}`}},
		{0, []string{"set", "-o", "table", "SEG", "load=NaN"}},
		{0, []string{"set", "-if", "11", "SEG", "config.Limit=12"}},
		{1, []string{"set", "-if", "11", "SEG", "config.Limit=13"}},
		{1, []string{"set", "-if", "11", "-o", "json", "SEG", "config.Limit=13"}},
		{0, []string{"set", "-if", "nan", "SEG", "load=-0.5"}},
		{0, []string{"set", "-if", "41", "SEG", "requests=42"}},
		{1, []string{"set", "SEG", "config.Limit=x"}},
		{1, []string{"set", "SEG", "config.Limit=2147483648"}},
		{1, []string{"set", "SEG", "version=more than sixteen bytes"}},
		{1, []string{"set", "SEG", "lock=1"}},
		{1, []string{"set", "SEG", "uptime=soon"}},
		{3, []string{"set", "SEG", "config.Limit=1", "nope=1"}},
		{3, []string{"set", "SEG", "config.Nope=1"}},
		{3, []string{"set", "SEG", "samples[4]=1"}},
		{0, []string{"add", "SEG", "requests", "1"}},
		{0, []string{"add", "SEG", "requests", "-40"}},
		{1, []string{"add", "SEG", "requests", "-4"}},
		{0, []string{"add", "SEG", "config.Limit", "-2"}},
		{1, []string{"add", "SEG", "config.Limit", "2147483640"}},
		{0, []string{"add", "-o", "json", "SEG", "samples[1]", "+0x10"}},
		{0, []string{"add", "SEG", "uptime", "90s"}},
		{0, []string{"add", "SEG", "load", "0.75"}},
		{1, []string{"add", "SEG", "version", "1"}},
		{1, []string{"add", "SEG", "load", "x"}},
		{0, []string{"wait", "-timeout", "1m", "SEG", "requests", "requests >= 3 && value < 4"}},
		{0, []string{"wait", "-timeout", "1m", "SEG", "config", "config.Debug == true && config.Grid[0].X == 2"}},
		{0, []string{"wait", "-timeout", "1m", "SEG", "version", `version startsWith "2."`}},
		{5, []string{"wait", "-timeout", "20ms", "SEG", "requests", "requests > 1000"}},
		{5, []string{"wait", "-timeout", "20ms", "SEG", "nope"}},
		{2, []string{"wait", "SEG", "config", "config.Nope == 1"}},
		{2, []string{"wait", "SEG", "requests", "requests + 1"}},
		{2, []string{"wait", "SEG", "requests >= 1000"}}, // without a name it would wait for a value of this name
		{0, []string{"load", "SEG", "DUMP"}},
		{0, []string{"diff", "SEG", "DUMP"}},
		{0, []string{"rm", "SEG"}},
		{3, []string{"rm", "SEG"}},
	} {
		args := make([]string, len(c.args))
		for i, arg := range c.args {
			args[i] = strings.NewReplacer("SEG", seg, "DUMP", dump).Replace(arg)
		}
		r := shmTool(t, args...)
		if r.status != c.status {
			t.Errorf("shm %q: exit status %d, want %d; %s", c.args, r.status, c.status, r.stderr)
		}
		all.WriteString("$ shm " + strings.Join(c.args, " ") + "\n" + r.stdout + r.stderr)
	}
	golden(t, "changes", steady(t, all.String(), seg))
}
