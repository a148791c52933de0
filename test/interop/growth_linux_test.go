package interop_test

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"example.org/shm/internal/layout"
	"example.org/shm/internal/shmtest"
)

// Go, Python and C have one rule of which type may attach to the struct of another one,
// and of where a type ends.
func TestGrowthRulesAgree(t *testing.T) {
	pairs := [][2]string{
		{"T{<i:a:}", "T{<i:a:}"},
		{"T{<i:a:<i:b:}", "T{<i:a:}"},
		{"T{<i:a:}", "T{<i:a:<i:b:}"},
		{"T{<q:a:<b:b:<b:c:6x}", "T{<q:a:<b:b:7x}"},
		{"T{<q:n:T{<q:a:<b:b:<b:c:6x}:t:}", "T{<q:n:T{<q:a:<b:b:7x}:t:}"},
		{"T{<q:n:T{<q:a:<b:b:<b:c:6x}:t:<q:m:}", "T{<q:n:T{<q:a:<b:b:7x}:t:}"},
		{"T{<q:n:T{<q:a:<b:b:<b:c:6x}:t:<q:m:}", "T{<q:n:T{<q:a:<b:b:7x}:t:<q:m:}"},
		{"T{<q:n:T{<q:a:<b:b:7x}:t:<q:m:}", "T{<q:n:T{<q:a:<b:b:<b:c:6x}:t:}"},
		{"T{T{T{<i:a:<i:b:}:x:}:y:}", "T{T{T{<i:a:}:x:}:y:}"},
		{"T{T{T{<i:a:<i:b:}:x:}:y:}", "T{T{T{<i:a:}:z:}:y:}"},
		{"T{T{T{<i:a:<i:b:}:x:}:y:}", "T{T{T{<i:b:}:x:}:y:}"},
		{"T{(1)T{<i:a:<i:b:}:x:}", "T{(1)T{<i:a:}:x:}"},
		{"T{(2)<i:x:}", "T{(1)<i:x:}"},
		{"T{<q:x:}", "T{<i:x:}"},
		{"T{<i:n:4xT{<i:a:4x<q:b:}:t:}", "T{<i:n:T{<i:a:}:t:}"},
		{"T{<i:a:}", "T{4x}"},
		{"T{<i:n:T{<i:a:}:t:}", "T{<i:n:T{4x}:t:}"},
		{"T{<i:n:T{<i:a:}:t:}", "T{<i:n:4x}"},
		{"<i", "<i"},
		{"<q", "<i"},
		{"(2)T{<i:a:}", "(2)T{<i:a:}"},
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		short := randomFields(random, 3)
		long := append([]string{}, short...)
		for range random.IntN(3) {
			long = append(long, randomField(random, 2, len(long)))
		}
		if n := random.IntN(len(short)); random.IntN(2) == 0 || n == len(short)-1 {
			long[n] = strings.Replace(long[n], "}", []string{"<q:more:}", "x}", "}", "<b:more:7x}"}[random.IntN(4)], 1)
		}
		pairs = append(pairs, [2]string{"T{" + strings.Join(long, "") + "}", "T{" + strings.Join(short, "") + "}"})
	}
	var inGo, asked strings.Builder
	attach := 0
	for _, pair := range pairs {
		a, err := layout.Parse(strings.ReplaceAll(pair[0], "<", layout.ByteOrder))
		b, err2 := layout.Parse(strings.ReplaceAll(pair[1], "<", layout.ByteOrder))
		if err != nil || err2 != nil {
			continue // two runs of padding beside each other
		}
		fmt.Fprintln(&asked, a.Format, b.Format)
		yes := 0
		if a.Extends(b) {
			yes = 1
			attach++
		}
		fmt.Fprintln(&inGo, yes, a.End(), b.End())
	}
	if attach < 100 {
		t.Fatalf("only %d of %d pairs extend", attach, len(pairs))
	}
	root := shmtest.Root(t)
	ask := func(cmd *exec.Cmd) string {
		cmd.Stdin = strings.NewReader(asked.String())
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	compare := func(language, got string) {
		questions, want := strings.Split(asked.String(), "\n"), strings.Split(inGo.String(), "\n")
		lines := strings.Split(got, "\n")
		if len(lines) != len(want) {
			t.Errorf("%s has answered %d of %d questions", language, len(lines), len(want))
		}
		for i := range min(len(lines), len(want)) {
			if lines[i] != want[i] {
				t.Errorf("%s: %s, Go: %s; of %s", language, lines[i], want[i], questions[i])
			}
		}
	}
	t.Run("Python", func(t *testing.T) {
		python := shmtest.Python(t, "")
		compare("Python", ask(python.Command(filepath.Join(root, "test/interop/testdata/extends.py"))))
	})
	t.Run("C", func(t *testing.T) {
		c := shmtest.CProgram(t, "-std=gnu11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined",
			"-I", filepath.Join(root, "c"), filepath.Join(root, "test/interop/testdata/c/extends.c"))
		compare("C", ask(exec.Command(c)))
	})
}

// randomFields returns some fields of a struct, packed.
func randomFields(random *rand.Rand, depth int) (fields []string) {
	for i := range 1 + random.IntN(3) {
		fields = append(fields, randomField(random, depth-1, i))
	}
	return fields
}

func randomField(random *rand.Rand, depth, i int) string {
	item := []string{"<b", "<i", "(2)<h", "<Zf"}[random.IntN(4)]
	if depth > 0 && random.IntN(2) == 0 {
		item = "T{" + strings.Join(randomFields(random, depth), "") + []string{"", "x", "3x"}[random.IntN(3)] + "}"
		if random.IntN(4) == 0 {
			item = "(2)" + item
		}
	}
	return fmt.Sprintf("%s:f%d:", item, i)
}
