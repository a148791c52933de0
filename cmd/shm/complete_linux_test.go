package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/doctor"
)

// TestCompletion asks for completions as the scripts do, and checks that the shells that
// are installed accept the scripts.
func TestCompletion(t *testing.T) {
	seg := fixture(t)
	for _, c := range []struct {
		args string
		want []string
		not  []string
	}{
		{"", []string{"ls", "get", "locks", "bench"}, nil},
		{"get SEG", []string{"requests", "config", "samples"}, []string{"odd name.x[1]=2"}},
		{"set SEG", []string{"requests"}, nil},
		{"ls -", []string{"-l", "-o"}, nil},
		{"serve -", []string{"-addr", "-host", "-i", "-o"}, nil},
		{"gen", []string{"go", "c", "python"}, nil},
	} {
		args := append(strings.Fields(strings.ReplaceAll(c.args, "SEG", seg)), "--generate-shell-completion")
		r := shmTool(t, args...)
		var words []string
		for line := range strings.Lines(r.stdout) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), ":")
			words = append(words, strings.TrimLeft(word, "-"))
		}
		for _, w := range c.want {
			if !slices.Contains(words, strings.TrimLeft(w, "-")) {
				t.Errorf("shm %s: %q does not have %q; %s", c.args, words, w, r.stderr)
			}
		}
		for _, w := range c.not {
			if strings.Contains(r.stdout, w) {
				t.Errorf("shm %s offers %q", c.args, w)
			}
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		r := shmTool(t, "completion", shell)
		if r.status != 0 || !strings.Contains(r.stdout, "--generate-shell-completion") {
			t.Errorf("completion %s: %+v", shell, r)
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		script := filepath.Join(t.TempDir(), "completion")
		if err := os.WriteFile(script, []byte(r.stdout), 0o666); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(path, "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
}

// TestBashCompletes completes words in a bash that has nothing but the script.
func TestBashCompletes(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	seg := fixture(t)
	for line, want := range map[string]string{
		tool + " wat": "watch", tool + " get " + seg + " req": "requests", tool + " get " + seg + " 'no such' lo": "load lots lock",
		tool + " ls -": "-l -o --help", tool + " locks --f": "--follow", tool + " locks -f": "-follow", tool + " gen p": "python", tool + " get $(touch made) req": "",
	} {
		script := shmTool(t, "completion", "bash").stdout + `
read -r -a COMP_WORDS <<< "$1"
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_shm
echo "${COMPREPLY[@]}"
[[ ! -e made ]]`
		cmd := exec.Command(bash, "--norc", "-c", script, "bash", line)
		cmd.Dir = t.TempDir()
		if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%s: %q, want %q: %v", line, out, want, err)
		}
	}
}

// TestFishCompletes completes words in fish.
func TestFishCompletes(t *testing.T) {
	fish, err := exec.LookPath("fish")
	if err != nil {
		t.Skip("fish is not installed")
	}
	seg := fixture(t)
	named := fmt.Sprintf("shmtest-tool-fish-%d", os.Getpid())
	s, err := shm.Open(named, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errorsOf(s.Close(), shm.Remove(named)) }()
	for line, want := range map[string]string{
		"shm wat": "watch", "shm get " + seg + " req": "requests", "shm ls shmtest-tool-fish": named, "shm locks --f": "--follow",
	} {
		cmd := exec.Command(fish, "--no-config", "-c", shmTool(t, "completion", "fish").stdout+`
complete -C $argv[1]`, line)
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(tool)+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if word, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\t"); err != nil || word != want {
			t.Errorf("%s: %q, want %q: %v", line, out, want, err)
		}
	}
}

// TestMan checks that the man page has each command and the exit statuses.
func TestMan(t *testing.T) {
	r := shmTool(t, "man")
	if r.status != 0 || !strings.Contains(r.stdout, ".TH shm 1") {
		t.Fatalf("%+v", r)
	}
	for _, c := range root().Commands {
		if !strings.Contains(r.stdout, ".SH "+c.Name) || !strings.Contains(r.stdout, strings.TrimSpace("shm "+c.Name+" "+c.ArgsUsage)) {
			t.Errorf("the man page has no %s, or not its arguments", c.Name)
		}
	}
	if !strings.Contains(r.stdout, "130 interrupted") {
		t.Error("the man page has no exit statuses")
	}
	if _, line, found := strings.Cut(r.stdout, "\n'"); found {
		t.Errorf("troff takes a line for a request: '%.40s", line)
	}
}

// TestEveryCommandHasExamples checks the help of each command.
func TestEveryCommandHasExamples(t *testing.T) {
	for _, c := range root().Commands {
		if c.Usage == "" || c.Description == "" {
			t.Errorf("%s has no usage or no description", c.Name)
		}
		if !strings.Contains(c.Description, "Examples:\n   shm "+c.Name) {
			t.Errorf("the help of %s has no examples", c.Name)
		}
		if r := shmTool(t, c.Name, "--help"); r.status != 0 || !strings.Contains(r.stdout, "Examples:") {
			t.Errorf("shm %s --help: %+v", c.Name, r)
		}
	}
}

// TestDoctor checks that what the tests themselves do works here.
func TestDoctor(t *testing.T) {
	found := map[string]doctor.Finding{}
	for _, f := range inJSON[doctor.Finding](t, "findings", "doctor") {
		found[f.Check] = f
		if f.Verdict != doctor.Fine && f.Means == "" {
			t.Errorf("%s: %s, and does not say what it means", f.Check, f.Found)
		}
	}
	for _, check := range []string{"kernel", "a segment and a lock", "/dev/shm", "/proc", "RemoveIPC", "limit: open files"} {
		if f, ok := found[check]; !ok || check != "/dev/shm" && f.Verdict == doctor.Bad {
			t.Errorf("%s: %+v", check, f)
		}
	}
}
