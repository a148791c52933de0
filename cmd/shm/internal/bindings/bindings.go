// Package bindings asks the Python package and the C header what a segment has, and
// compares that with what Go says. They implement the memory format each by itself, so a
// mistake of one of them, or a segment that they read differently, shows here.
package bindings

import (
	"bytes"
	"context"
	_ "embed" // for the programs that ask
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"example.org/shm"
	"example.org/shm/c"
	"example.org/shm/python"
)

var (
	//go:embed compare.py
	pythonProgram string
	//go:embed compare.c
	cProgram string
)

// limit is the largest value, in bytes, of which contents are compared. Of a larger one
// only the description is.
const limit = 1 << 20

// patience is how long a compiler and a program may take.
const patience = time.Minute

// Difference is a value of which a language says something else than Go.
type Difference struct {
	Value string // "" if it is about the whole segment
	Text  string
}

// Result is what the comparison with one language has found.
type Result struct {
	Language  string
	Skipped   string // why nothing was compared; "" if it was
	Values    int    // of which the descriptions were compared
	Contents  int    // of which the contents were compared as well
	Changing  int    // of which the contents changed while they were compared
	Different []Difference
}

// Compare compares what Python and C say of a segment with what Go says. It disturbs no
// program that uses the segment: they attach without write permission. The path is that
// of the segment's file.
func Compare(ctx context.Context, s *shm.Segment, path string) []Result {
	results := []Result{{Language: "Python"}, {Language: "C"}}
	for i, ask := range []func(context.Context, string, []shm.Entry) ([]answer, error){askPython, askC} {
		r := &results[i]
		var before []shm.Entry
		var old []content
		for e := range s.Entries() {
			before = append(before, e)
			old = append(old, contentOf(e))
		}
		answers, err := ask(ctx, path, before)
		if err != nil {
			r.Skipped = err.Error()
			continue
		}
		r.compare(before, old, answers)
	}
	return results
}

// answer is what a language says of a value.
type answer struct {
	Name     string
	Problem  string // it cannot read the value
	Fields   map[string]any
	Contents []byte // nil: not to be compared
}

// compare fills in the result.
func (r *Result) compare(entries []shm.Entry, old []content, answers []answer) {
	byName := map[string]answer{}
	for _, a := range answers {
		byName[a.Name] = a
	}
	for i, e := range entries {
		a, ok := byName[e.Name]
		if !ok {
			r.Different = append(r.Different, Difference{e.Name, r.Language + " does not find it"})
			continue
		}
		r.Values++
		if a.Problem != "" {
			r.Different = append(r.Different, Difference{e.Name, r.Language + " cannot read it: " + a.Problem})
			continue
		}
		for field, want := range fieldsOf(e) {
			if got, said := a.Fields[field]; said && shown(got) != shown(want) {
				r.Different = append(r.Different, Difference{e.Name, fmt.Sprintf("its %s is %v, and %s says %v", field, want, r.Language, got)})
			}
		}
		if a.Contents == nil || old[i].bytes == nil {
			continue
		}
		now := contentOf(e)
		switch {
		case old[i].is(a.Contents) || now.is(a.Contents):
			r.Contents++
		case !old[i].is(now.bytes):
			r.Changing++
		default:
			r.Different = append(r.Different, Difference{e.Name, fmt.Sprintf("its bytes are %s, and %s reads %s", short(now.bytes), r.Language, short(a.Contents))})
		}
	}
}

// shown returns what is to be compared of a field. A unit, a help text and a program may be
// any bytes. What is not UTF-8 has other numbers of replacement characters in each language.
func shown(field any) string {
	const replacement = string(utf8.RuneError)
	text := strings.ToValidUTF8(fmt.Sprint(field), replacement)
	for before := ""; before != text; {
		before, text = text, strings.ReplaceAll(text, replacement+replacement, replacement)
	}
	return text
}

// short returns bytes in hexadecimal, the first ones if there are many.
func short(b []byte) string {
	if len(b) > 16 {
		return fmt.Sprintf("%x… (%d bytes)", b[:16], len(b))
	}
	return fmt.Sprintf("%x", b)
}

// fieldsOf returns what Go says of a value, by the names that the answers have.
func fieldsOf(e shm.Entry) map[string]any {
	return map[string]any{
		"format": e.Layout.Format, "length": e.Len, "access": e.Access, "unit": e.Unit, "help": e.Help, "hint": e.Hint,
		"pid": e.Pid, "program": e.Program, "offset": e.Offset, "size": e.Size, "kind of record": kindOf(e),
	}
}

// kindOf returns the number of the value's kind in docs/FORMAT.md.
func kindOf(e shm.Entry) int {
	name, _, _ := strings.Cut(e.Type(), "[")
	kinds := map[string]int{
		"Mutex": 4, "Mutexes": 4, "Ring": 7, "Counter": 8, "Gauge": 9, "Histogram": 10, "CharArray": 3, "String": 3,
		"Array": 2, "RawArray": 2, "AtomicArray": 2, "Table": 2,
	}
	if k := kinds[name]; k != 0 {
		return k
	}
	return 1
}

// run runs a program and returns what it prints.
func run(ctx context.Context, in string, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	cmd.Stdin = strings.NewReader(in)
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		said := strings.TrimSpace(string(exit.Stderr))
		if said == "" {
			said = strings.TrimSpace(string(out)) // of compare.c
		}
		if i := strings.LastIndexByte(said, '\n'); i >= 0 {
			said = said[i+1:] // the last line of a traceback
		}
		return nil, fmt.Errorf("%s: %w: %s", filepath.Base(name), err, said)
	}
	return out, err
}

// askPython runs the Python package, which is embedded in this program.
func askPython(ctx context.Context, path string, _ []shm.Entry) (all []answer, err error) {
	interpreter, err := exec.LookPath("python3")
	if err != nil {
		return nil, errors.New("no python3")
	}
	dir, err := os.MkdirTemp("", "shm-check-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, python.Files); err != nil {
		return nil, err
	}
	program := filepath.Join(dir, "compare.py")
	if err := os.WriteFile(program, []byte(pythonProgram), 0o600); err != nil {
		return nil, err
	}
	out, err := run(ctx, "", interpreter, "-I", "-B", program, dir, path, strconv.Itoa(limit))
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(out) {
		var said struct{ Name, Error, Bytes string }
		a := answer{}
		if err := errors.Join(json.Unmarshal(line, &said), decodeNumbers(line, &a.Fields)); err != nil {
			return nil, fmt.Errorf("python3 prints %q: %w", line, err)
		}
		delete(a.Fields, "kind") // a name of Python's own
		a.Name, a.Problem = said.Name, said.Error
		if said.Bytes != "" {
			if a.Contents, err = hex.DecodeString(said.Bytes); err != nil {
				return nil, err
			}
		}
		all = append(all, a)
	}
	return all, nil
}

// decodeNumbers decodes JSON without making an integer a float64.
func decodeNumbers(line []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	return d.Decode(to)
}

// askC compiles a program with the header shm.h, which is embedded in this program, and
// runs it.
func askC(ctx context.Context, path string, entries []shm.Entry) (all []answer, err error) {
	compiler := ""
	for _, name := range []string{"gcc", "cc", "clang"} {
		if compiler, err = exec.LookPath(name); err == nil {
			break
		}
	}
	if compiler == "" {
		return nil, errors.New("no gcc and no other C compiler")
	}
	dir, err := os.MkdirTemp("", "shm-check-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program, source := filepath.Join(dir, "compare"), filepath.Join(dir, "compare.c")
	for name, text := range map[string]string{"shm.h": c.Header, "compare.c": cProgram} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	if _, err := run(ctx, "", compiler, "-std=c11", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", "-pthread", "-o", program, source); err != nil {
		return nil, err
	}
	var questions strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&questions, "-%x -%x %d %d\n", e.Name, e.Layout.Format, e.Access, limit)
	}
	out, err := run(ctx, questions.String(), program, path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w: programs cannot be run in %s", err, filepath.Dir(dir))
	}
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if lines[0] != "attached" || len(lines) != len(entries)+1 {
		return nil, fmt.Errorf("the C program prints %d lines for %d values", len(lines), len(entries))
	}
	for i, line := range lines[1:] {
		a := answer{Name: entries[i].Name, Fields: map[string]any{}}
		var kind, count, offset, digits string
		if problem, failed := strings.CutPrefix(line, "error "); failed {
			a.Problem = problem
		} else if _, err := fmt.Sscan(line, &kind, &count, &offset, &digits); err != nil {
			return nil, fmt.Errorf("the C program prints %q", line)
		} else {
			a.Fields["kind of record"], a.Fields["length"] = kind, count
			if offset != "-1" {
				a.Fields["offset"] = offset
			}
			if digits != "-" {
				if a.Contents, err = hex.DecodeString(digits[1:]); err != nil {
					return nil, err
				}
			}
		}
		all = append(all, a)
	}
	return all, nil
}
