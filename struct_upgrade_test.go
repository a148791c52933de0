//go:build linux

package shm_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
)

// TestGrowersAgree has several processes make a value grow at the same time.
func TestGrowersAgree(t *testing.T) {
	for _, versions := range [][]string{{"2", "2", "2", "2"}, {"2", "2b", "2", "2b"}, {"2", "3", "2", "3", "1"}} {
		t.Run(strings.Join(versions, ","), func(t *testing.T) {
			rounds := 5
			if race.Enabled { // to start a process takes long
				rounds = 2
			}
			for range rounds {
				name := shmtest.Name(t)
				s := open(t, name, nil)
				shmtest.Must(shm.NewStruct(s, "g", grow1{1, 2}))(t)
				var all []*shmtest.Process
				for _, version := range versions {
					p := shmtest.Start(t, upgrader, name, version, "together")
					p.Expect("ready")
					all = append(all, p)
				}
				for _, p := range all {
					p.Say("")
				}
				said := map[string]map[string]bool{}
				for i, p := range all {
					if said[versions[i]] == nil {
						said[versions[i]] = map[string]bool{}
					}
					said[versions[i]][p.Line()] = true
					if err := p.Stdin.Close(); err != nil {
						t.Fatal(err)
					}
					p.Wait()
				}
				for version, lines := range said {
					if len(lines) != 1 {
						t.Fatalf("version %s: %v", version, said)
					}
				}
				if said["2b"] != nil && said["2"]["attached"] == said["2b"]["attached"] {
					t.Fatalf("%v", said)
				}
				if said["3"] != nil && (!said["2"]["attached"] || !said["3"]["attached"]) {
					t.Fatalf("%v", said)
				}
				// If the third version comes before the second one, the value grows once.
				if n := growths(t, s); n != 1 && (said["3"] == nil || n != 2) {
					t.Fatalf("%d growths of %v", n, said)
				}
			}
		})
	}
}

// TestRollingUpgrade has processes of three versions count at the same time, each in
// fields of its own. No count is lost.
func TestRollingUpgrade(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	shmtest.Must(shm.NewStruct(s, "g", grow1{}))(t)
	const updates = 20000
	var all []*shmtest.Process
	for _, version := range []string{"1", "2", "3"} {
		p := shmtest.Start(t, upgrader, name, version)
		p.Expect("attached")
		p.Say(fmt.Sprint("count ", updates)) // the older ones count meanwhile
		all = append(all, p)
	}
	for _, p := range all {
		p.Line()
	}
	want := grow3{A: updates, B: int8(updates & 0xff), C: int8(updates & 0xff), D: updates, E: [4]float64{updates, 0, 0, updates}}
	if got := shmtest.Must(shm.NewStruct(s, "g", grow3{}))(t).Load(); got != want {
		t.Fatalf("%+v, want %+v", got, want)
	}
}

// TestRollingUpgradeOfTwoPrograms builds two versions of a server and upgrades it while
// it serves.
func TestRollingUpgradeOfTwoPrograms(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two programs")
	}
	t.Parallel()
	files := map[string]string{}
	for _, version := range []string{"old", "new"} {
		for _, file := range []string{"main.go", version + ".go"} {
			files["internal/rolling/"+version+"/"+file] = string(shmtest.Must(os.ReadFile("testdata/rolling/" + file))(t))
		}
	}
	overlay := shmtest.Overlay(t, files)
	name := shmtest.Name(t)
	const each = 20000
	run := func(program string) *shmtest.Process {
		return shmtest.StartProgram(t, exec.Command(program, name, fmt.Sprint(each)))
	}
	old, new := shmtest.GoProgram(t, "./internal/rolling/old", overlay), shmtest.GoProgram(t, "./internal/rolling/new", overlay)
	// Two old workers serve. One by one new ones join and old ones leave.
	workers := []*shmtest.Process{run(old), run(old)}
	for _, p := range workers {
		p.Expect("serving")
	}
	late := run(new)
	late.Expect("serving")
	for _, p := range append(workers, late) {
		p.Say("go")
	}
	workers[0].Expect(fmt.Sprint("served ", each))
	later := run(new)
	later.Expect("serving")
	later.Say("go")
	for _, p := range []*shmtest.Process{workers[1], late, later} {
		p.Expect(fmt.Sprint("served ", each))
	}
	last := run(new)
	last.Expect("serving")
	last.Say("report")
	last.Expect(fmt.Sprintf("requests %d bytes %d slow %d", 4*each, 4*100*each, 2*each))
}
