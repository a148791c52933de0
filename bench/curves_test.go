package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Each curve has its first points, and what is written of them is whole.
func TestCurves(t *testing.T) {
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	k := &course{ctx: ctx, dir: t.TempDir(), span: 20 * time.Millisecond, own: own}
	sc := scaling{Command: "go test", Taken: today(), Machine: machine()}
	for _, cu := range curves() {
		if _, err := exec.LookPath("cc"); err != nil && cu.Key == "attached" {
			t.Skip("no C compiler: ", err)
		}
		most := 10
		if cu.bytes {
			most = 1 << 20
		}
		if err := k.each(cu, most); err != nil {
			t.Fatal(err)
		}
		for _, s := range cu.Series {
			if len(s.Points) < 2 {
				t.Errorf("%s, %s: %d points", cu.Title, s.Name, len(s.Points))
			}
			for _, p := range s.Points {
				if p.Y <= 0 && s.Unit != share && s.Unit != cpu { // one may starve in so short a time
					t.Errorf("%s, %s, %d: %v", cu.Title, s.Name, p.N, p.Y)
				}
			}
		}
		t.Logf("%s\n%s", cu.Title, terminal(cu.table()))
		sc.Curves = append(sc.Curves, cu)
	}
	dir := t.TempDir()
	page, err := os.ReadFile("../docs/SCALING.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.WriteFile(filepath.Join(dir, "SCALING.md"), page, 0o600), os.Mkdir(filepath.Join(dir, "pictures"), 0o700), sc.write(dir)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]string{
		"SCALING.md":                          "| 1.0 MiB |",
		"scaling.json":                        `"key": "attached"`,
		"pictures/scaling-processes-dark.svg": "<svg",
		"pictures/scaling-structs-light.svg":  "<svg",
	} {
		if b, err := os.ReadFile(filepath.Join(dir, file)); err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s does not have %q: %v", file, want, err)
		}
	}
}

func TestArgumentsOfCurvesAreChecked(t *testing.T) {
	for _, args := range [][]string{{"-span", "0"}, {"-most", "0"}, {"more"}, {"-only", "idle", "-write", "."}, {"-only", "nothing"}} {
		if err := runCurves(t.Context(), args); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}
