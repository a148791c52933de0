package settings_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.org/shm/examples/internal/programs"
	"example.org/shm/examples/settings/settings"
)

var bin string // directory of the programs

func TestMain(m *testing.M) { os.Exit(programs.Main(m, &bin, "./daemon", "./set")) }

// set runs the command that changes settings, and returns its output.
func set(name string, flags ...string) (said string, err error) {
	out, err := exec.Command(filepath.Join(bin, "set"), append([]string{"-name", name}, flags...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func TestSettings(t *testing.T) {
	name := filepath.Join(t.TempDir(), "settings")
	if said, err := set(name, "-interval", "3h"); err != nil { // no daemon runs yet
		t.Fatal(err, said)
	}
	daemons := make([]*programs.Process, 3)
	for i := range daemons {
		daemons[i] = programs.Start(t, filepath.Join(bin, "daemon"), "-name", name)
		daemons[i].Line(fmt.Sprintf(`daemon %d starts with "hello" every 3h0m0s`, daemons[i].Pid()))
	}
	change := func(want string, flags ...string) {
		t.Helper()
		if said, err := set(name, flags...); err != nil || said != want {
			t.Fatalf("set %q: %v, %q, want %q", flags, err, said, want)
		}
		for _, d := range daemons {
			d.Line(fmt.Sprintf("daemon %d changes to %s", d.Pid(), want))
		}
	}
	change(`"hello" every 1h0m0s`, "-interval", "1h")
	change(`"GOOD DAY" every 1h0m0s`, "-greeting", "good day", "-loud")

	// The daemons print the new greeting, at the new interval.
	change(`"hi" every 1ms`, "-interval", "1ms", "-greeting", "hi", "-loud=false")
	for _, d := range daemons {
		for range 3 {
			d.Line("hi")
		}
	}
	change(`"hi" every 1h0m0s`, "-interval", "1h")

	// Invalid settings change nothing.
	for _, bad := range [][]string{{"-interval", "0s"}, {"-interval", "1"}, {"-greeting", strings.Repeat("x", 33)}, {"-loud=maybe"}} {
		if said, err := set(name, append([]string{"-greeting", "never"}, bad...)...); err == nil {
			t.Errorf("set %q: %q", bad, said)
		}
	}

	// If a daemon is killed while it awaits a change, the others still get the change.
	daemons[0].Kill()
	daemons = daemons[1:]
	change(`"hi" every 2h0m0s`, "-interval", "2h")

	for _, d := range daemons {
		d.Signal(syscall.SIGTERM)
		d.Wait()
	}
}

// TestSettersAtOnce runs several commands at the same time, and checks that no change
// is lost.
func TestSettersAtOnce(t *testing.T) {
	name := filepath.Join(t.TempDir(), "settings")
	shared, err := settings.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	greeting, err := settings.Greeting("bye")
	if err != nil {
		t.Fatal(err)
	}
	want := settings.Settings{Interval: 3 * time.Second, Greeting: greeting, Loud: true}
	var setters sync.WaitGroup
	for _, flag := range []string{"-interval=3s", "-greeting=bye", "-loud"} {
		setters.Go(func() {
			if said, err := set(name, flag); err != nil {
				t.Errorf("set %s: %v, %s", flag, err, said)
			}
		})
	}
	setters.Wait()
	if now := shared.Load(); now != want {
		t.Errorf("%v, want %v", now, want)
	}
}
