//go:build unix

package bench

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// elsewhere returns the command of the script as a system without prctl runs it.
func elsewhere(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(interpreter)
	if err != nil {
		t.Skip(errNoPython)
	}
	file := filepath.Join(t.TempDir(), "script.py")
	changed := strings.Replace(script, "import ctypes\n", "import ctypes, sys; sys.platform = 'darwin'; del ctypes.CDLL\n", 1)
	if changed == script {
		t.Fatal("the script imports no ctypes")
	}
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	return exec.Command(path, append([]string{"-I", file}, args...)...)
}

// The script measures on systems that do not end children with their parent.
func TestPythonElsewhere(t *testing.T) {
	for _, args := range [][]string{
		{"value", "alone", "0.01", "-"},
		{"value", "contend", "0.01", "-,-"},
		{"rawvalue", "kill", "0.01", "0.1"},
	} {
		out, err := elsewhere(t, args...).Output()
		var answer map[string]any
		if err != nil || json.Unmarshal(out, &answer) != nil || len(answer) == 0 {
			t.Errorf("%v: %q, %v", args, out, err)
		}
	}
}

// Its children end when it is killed.
func TestPythonElsewhereEnds(t *testing.T) {
	cmd := elsewhere(t, "value", "contend", "1000", "-,-")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	group := cmd.Process.Pid
	defer func() { _ = syscall.Kill(-group, syscall.SIGKILL) }()
	for deadline := time.Now().Add(time.Minute); members(t, group) < 3; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it starts no children")
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	for deadline := time.Now().Add(time.Minute); syscall.Kill(-group, 0) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the children of a killed script go on")
		}
	}
}

// members returns how many processes are in a group.
func members(t *testing.T, group int) (n int) {
	t.Helper()
	out, err := exec.Command("ps", "-A", "-o", "pgid=").Output()
	if err != nil {
		t.Skip("there is no ps: ", err)
	}
	for _, word := range strings.Fields(string(out)) {
		if word == strconv.Itoa(group) {
			n++
		}
	}
	return n
}
