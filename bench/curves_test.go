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
		if err := k.each(cu, 10); err != nil {
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

// The limit that docs/SCALING.md names leaves out no size of a Struct, whose chart goes up
// to 1 MiB.
func TestLimitOfCurves(t *testing.T) {
	for _, cu := range curves() {
		last := cu.steps[len(cu.steps)-1]
		all, few := cu.upTo(1_000_000), cu.upTo(1000)
		if len(all) != len(cu.steps) {
			t.Errorf("%s ends at %d of %d", cu.Title, all[len(all)-1], last)
		}
		if left := few[len(few)-1]; cu.bytes && left != last || !cu.bytes && left > 1000 {
			t.Errorf("%s with a limit of 1000 ends at %d of %d", cu.Title, left, last)
		}
		if cu.bytes && last != 1<<20 {
			t.Errorf("%s ends at %d bytes", cu.Title, last)
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
