package form

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestEscapes checks what becomes of texts that others wrote.
func TestEscapes(t *testing.T) {
	for _, c := range []struct{ text, name, shown, line string }{
		{"plain", "plain", "plain", "plain"},
		{"", `""`, "", ""},
		{`"quoted`, `"\"quoted"`, `"quoted`, `"quoted`},
		{"\x1b[2J", `"\x1b[2J"`, `"\x1b[2J"`, `\x1b[2J`},
		{"a\u009bb", `"a\u009bb"`, `"a\u009bb"`, `a\u009bb`},
		{"\u202edlrow", `"\u202edlrow"`, `"\u202edlrow"`, `\u202edlrow`},
		{"\xff", `"\xff"`, `"\xff"`, `\xff`},
		{"two\nlines", `"two\nlines"`, `"two\nlines"`, "two; lines"},
		{"grüße 世界", "grüße 世界", "grüße 世界", "grüße 世界"},
	} {
		if Name(c.text) != c.name || Text(c.text) != c.shown || Line(c.text) != c.line {
			t.Errorf("%q is %s, %s and %s", c.text, Name(c.text), Text(c.text), Line(c.text))
		}
	}
	const hostile = "\x1b]0;x\x07\u202e\u009b\U000e0001\x7f<&>"
	b, err := newEncoder("", "").encode(hostile)
	if err != nil {
		t.Fatal(err)
	}
	var back string
	if err := json.Unmarshal(b, &back); err != nil || back != hostile {
		t.Errorf("%s is %q: %v", b, back, err)
	}
	if got := string(Harmless([]byte("\"\x9b2J\xff\""))); got != "\"\uFFFD2J\uFFFD\"" {
		t.Errorf("bytes that are no UTF-8 are %q", got)
	}
	for _, r := range string(b) {
		if r != '\n' && (r < ' ' || r > '~') {
			t.Errorf("%s has %q", b, r)
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct{ text, hint, unit, want string }{
		{"1500000000", "duration", "", "1.5s"},
		{"0", "time", "", "1970-01-01T00:00:00Z"},
		{"2048", "", "bytes", "2.0 KiB"},
		{"-2048", "", "bytes", "-2048 bytes"},
		{"7", "", "m/s", "7 m/s"},
		{"7", "", "\x1b[2J", `7 "\x1b[2J"`},
		{"NaN", "duration", "", "NaN"},
	} {
		if got := Number(c.text, c.hint, c.unit); got != c.want {
			t.Errorf("%q with hint %q and unit %q is %q, want %q", c.text, c.hint, c.unit, got, c.want)
		}
	}
	if Count(1, "value") != "1 value" || Count(0, "value") != "0 values" || Count(2, "process", "processes") != "2 processes" {
		t.Error("Count")
	}
}

// TestForms prints a report in each form.
func TestForms(t *testing.T) {
	type data struct {
		N int `json:"n"`
	}
	r := &Report{Kind: "things", Columns: Columns("name", ">n"), Notes: []string{"a note"}}
	const rows = 2*rowsAtOnce + 1
	for i := range rows {
		r.Add(Row{Cells: []string{fmt.Sprint("thing", i), fmt.Sprint(i)}, Data: data{i}})
	}
	out := map[string]string{}
	for _, f := range Forms {
		var w, err bytes.Buffer
		if e := (&Printer{W: &w, Err: &err, Form: f}).Report(r); e != nil {
			t.Fatal(e)
		}
		out[f] = w.String()
		if inOutput := strings.Contains(w.String(), "a note"); inOutput == strings.Contains(err.String(), "a note") {
			t.Errorf("%s: the note is on both or on none", f)
		}
	}
	lines := strings.Split(out[Table], "\n")
	if len(lines) != rows+4 || !strings.HasPrefix(lines[0], "name") {
		t.Fatalf("the table has %d lines, the first %q", len(lines), lines[0])
	}
	for i, line := range lines[2 : rows+2] {
		if utf8.RuneCountInString(line) != utf8.RuneCountInString(strings.TrimRight(lines[rows+1], " ")) || !strings.HasPrefix(line, fmt.Sprint("thing", i, " ")) {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	var doc struct {
		Schema int
		Things []data
		Notes  []string
	}
	if err := json.Unmarshal([]byte(out[JSON]), &doc); err != nil || doc.Schema != Schema || len(doc.Things) != rows || doc.Things[rows-1].N != rows-1 || len(doc.Notes) != 1 {
		t.Errorf("JSON: %v", err)
	}
	if got := strings.Count(out[JSONL], "\n"); got != rows || !strings.HasPrefix(out[JSONL], `{"schema":1,"n":0}`+"\n") {
		t.Errorf("JSON lines: %d", got)
	}
	if !strings.HasPrefix(out[Plain], "thing0\t0\n") || strings.Count(out[Plain], "\n") != rows {
		t.Error("text")
	}
	var w bytes.Buffer
	if err := (&Printer{W: &w, Form: JSON}).Report(&Report{Kind: "things"}); err != nil || w.String() != "{\n  \"schema\": 1,\n  \"things\": []\n}\n" {
		t.Errorf("an empty list is %q: %v", w.String(), err)
	}
}
