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

var bin string // where the programs are

func TestMain(m *testing.M) { os.Exit(programs.Main(m, &bin, "./daemon", "./set")) }

// set runs the command that changes settings.
func set(name string, flags ...string) (said string, err error) {
	out, err := exec.Command(filepath.Join(bin, "set"), append([]string{"-name", name}, flags...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func TestSettings(t *testing.T) {
	name := filepath.Join(t.TempDir(), "settings")
	if said, err := set(name, "-interval", "3h"); err != nil { // before there is a daemon
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

	// It says what it was told to, as often.
	change(`"hi" every 1ms`, "-interval", "1ms", "-greeting", "hi", "-loud=false")
	for _, d := range daemons {
		for range 3 {
			d.Line("hi")
		}
	}
	change(`"hi" every 1h0m0s`, "-interval", "1h")

	// What does not fit changes nothing.
	for _, bad := range [][]string{{"-interval", "0s"}, {"-interval", "1"}, {"-greeting", strings.Repeat("x", 33)}, {"-loud=maybe"}} {
		if said, err := set(name, append([]string{"-greeting", "never"}, bad...)...); err == nil {
			t.Errorf("set %q: %q", bad, said)
		}
	}

	// Who is killed as it awaits a change keeps nobody else from it.
	daemons[0].Kill()
	daemons = daemons[1:]
	change(`"hi" every 2h0m0s`, "-interval", "2h")

	for _, d := range daemons {
		d.Signal(syscall.SIGTERM)
		d.Wait()
	}
}

// TestSettersAtOnce wants the changes of commands that run at the same time to
// be there all.
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
