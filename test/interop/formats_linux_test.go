package interop_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"example.org/shm/internal/layout"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
)

// formatMaker makes formats of types, and what is almost one.
type formatMaker struct{ *rand.Rand }

func pick[T any](m formatMaker, of ...T) T { return of[m.IntN(len(of))] }

// name is a field's name, most of the time a new one.
func (m formatMaker) name(i int) string {
	switch m.IntN(40) {
	case 0:
		return pick(m, "", "a", " ", "a b", "{", "}", "T{", "\x00", "\x1b[1m", "\x7f", "x\n", "\xff", "\xc0\x80", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf4\x90\x80\x80", "\xe2\x82", "\x80")
	case 1: // Any character, assigned or not.
		return string(rune(m.IntN(0x110000)))
	case 2:
		return pick(m, "\u0085", "\u00a0", "\u009b", "\u200b", "\u2028", "\u202e", "\ufeff", "\ufffe", "\U0001fae8", "\u2ffc", "\ue000", "\U0010ffff", "\u0378") + fmt.Sprint(i)
	}
	return pick(m, "f", "ü", "日", "_") + fmt.Sprint(i)
}

func (m formatMaker) item(depth int) string {
	var b strings.Builder
	if m.IntN(4) == 0 {
		b.WriteString("(" + fmt.Sprint(1+m.IntN(5)))
		for m.IntN(3) == 0 {
			b.WriteString("," + pick(m, "1", "2", "17", "0", "02", "1048576", "1099511627776", "1099511627777"))
		}
		b.WriteString(")")
	}
	if depth == 0 || m.IntN(3) > 0 {
		b.WriteString(pick(m, layout.ByteOrder, layout.ByteOrder, layout.ByteOrder, layout.ByteOrder, layout.ByteOrder, layout.ByteOrder, "", "@", "=", "<", ">"))
		b.WriteString(pick(m, "?", "b", "B", "c", "h", "H", "i", "I", "q", "Q", "f", "d", "Zf", "Zd", "l", "L", "Z", "Zg", "P", "s", "e", "g"))
		return b.String()
	}
	b.WriteString("T{")
	for i := range m.IntN(5) {
		if m.IntN(3) == 0 {
			b.WriteString(pick(m, "x", "3x", "2x", "7x", "1x", "0x", "xx", "03x", "1099511627776x", "3"))
		}
		b.WriteString(m.item(depth-1) + ":" + m.name(i) + ":")
	}
	return b.String() + pick(m, "", "", "x", "4x") + "}"
}

// format returns a format that is right, most of the time, or has been damaged.
func (m formatMaker) format() string {
	b := []byte(m.item(3))
	for m.IntN(4) == 0 && len(b) > 0 {
		i, j := m.IntN(len(b)), m.IntN(len(b))
		switch m.IntN(4) {
		case 0:
			b[i] = byte(m.IntN(256))
		case 1:
			b[i] = b[j]
		case 2:
			b = append(b[:i], b[i+1:]...)
		case 3:
			b = append(b[:i:i], append([]byte{b[j]}, b[i:]...)...)
		}
	}
	return string(b)
}

// TestFormatsEverywhere gives the same formats to the parsers of Go, C and each
// Python. All accept and refuse the same ones: otherwise a segment that a program
// of one language makes could not be opened in another.
func TestFormatsEverywhere(t *testing.T) {
	t.Parallel()
	const seed = 3118
	m := formatMaker{rand.New(rand.NewPCG(seed, 1))}
	deep := func(n int) string {
		return strings.Repeat("T{", n) + layout.ByteOrder + "b" + strings.Repeat(":a:}", n)
	}
	many := func(n int, last string) string { // Fields with different names, and the last one.
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "%sb:%x:", layout.ByteOrder, i)
		}
		return "T{" + b.String() + layout.ByteOrder + "b:" + last + ":}"
	}
	formats := []string{
		"", deep(32), deep(33), many(4000, "z"), many(4000, "f9f"), many(6000, "z"),
		"T{" + strings.Repeat("x", 32<<10) + "}", "(" + strings.Repeat("1,", 31) + "1)" + layout.ByteOrder + "b", "(" + strings.Repeat("1,", 32) + "1)" + layout.ByteOrder + "b",
	}
	// Names that are the same in structs of their own, and twice in one.
	for _, body := range []string{"~b:a:T{~b:a:}:b:", "T{~b:a:}:a:~b:b:", "T{~b:a:}:b:T{~b:a:}:c:", "T{~b:a:}:b:T{~b:a:}:b:", "T{~b:a:~b:a:}:b:", "~b:a:~b:ab:~b:b:"} {
		formats = append(formats, "T{"+strings.ReplaceAll(body, "~", layout.ByteOrder)+"}")
	}
	for len(formats) < shmtest.Rounds(20_000) {
		formats = append(formats, m.format())
	}
	var input, want bytes.Buffer
	accepted := 0
	for _, format := range formats {
		fmt.Fprintln(&input, hex.EncodeToString([]byte(format)))
		l, err := layout.Parse(format)
		if err != nil || l.Format != format {
			l = layout.Layout{}
		} else {
			accepted++
		}
		fmt.Fprintln(&want, min(l.Size, 1), l.End(), l.Size)
	}
	if accepted < len(formats)/10 || accepted > len(formats)*9/10 {
		t.Errorf("%d of %d formats are right, so the others are hardly tested", accepted, len(formats))
	}
	check := func(t *testing.T, cmd *exec.Cmd) {
		cmd.Stdin = bytes.NewReader(input.Bytes())
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, &stderr)
		}
		got, want := strings.Split(string(out), "\n"), strings.Split(want.String(), "\n")
		if len(got) != len(want) {
			t.Fatalf("%d answers about %d formats", len(got)-1, len(formats))
		}
		for i, format := range formats {
			if got[i] != want[i] {
				t.Errorf("%.200q: %s, and in Go %s", format, got[i], want[i])
			}
		}
	}
	source := filepath.Join(shmtest.Root(t), "test/interop/testdata/formats/formats")
	t.Run("C", func(t *testing.T) {
		header := filepath.Join(shmtest.Root(t), "c")
		shmtest.Must(os.Stat(filepath.Join(header, "shm.h")))(t) // go test does not see that gcc reads it.
		flags := []string{"-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I", header}
		if probe := exec.Command("gcc", "-fsanitize=address,undefined", "-o", "/dev/null", "-x", "c", "-"); !race.Enabled {
			probe.Stdin = strings.NewReader("int main(void) { return 0; }")
			if probe.Run() == nil {
				flags = append(flags, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
			}
		}
		check(t, exec.Command(shmtest.CProgram(t, append(flags, source+".c")...)))
	})
	for _, python := range shmtest.Pythons(t, shmtest.PythonShm) {
		t.Run("Python "+python.Version, func(t *testing.T) {
			check(t, python.Command(source+".py"))
		})
	}
}
