package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The program is looked for beside the command and on PATH. Its exit status is the
// command's.
func TestMirrorRunsAProgram(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if path, err := findMirror(); err == nil {
		t.Fatalf("%s was found", path)
	}
	script := filepath.Join(dir, mirrorProgram)
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexit $2\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if path, err := findMirror(); err != nil || path != script {
		t.Fatalf("%q, %v", path, err)
	}
	for _, status := range []string{"0", "3", "130"} {
		err := root().Run(t.Context(), []string{"shm", "mirror", "status", status})
		if got := statusOf(t.Context(), err); status != map[int]string{0: "0", 3: "3", 130: "130"}[got] {
			t.Errorf("status %s became %d, %v", status, got, err)
		}
	}
}

// The flag -o before "mirror" is the one of "mirror status".
func TestFormOfMirrorStatus(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	script := "#!/bin/sh\necho \"$*\" >" + filepath.Join(dir, "arguments") + "\n"
	if err := os.WriteFile(filepath.Join(dir, mirrorProgram), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args, want string
		status     int
	}{
		{"-o json mirror status r", "status -o json r", 0},
		{"-o json mirror status -o table r", "status -o json -o table r", 0},
		{"mirror status -o json", "status -o json", 0},
		{"mirror serve seg", "serve seg", 0},
		{"-o json mirror serve seg", "", 2},
	} {
		_ = os.Remove(filepath.Join(dir, "arguments"))
		err := root().Run(t.Context(), append([]string{"shm"}, strings.Fields(c.args)...))
		got, _ := os.ReadFile(filepath.Join(dir, "arguments"))
		if statusOf(t.Context(), err) != c.status || strings.TrimSpace(string(got)) != c.want {
			t.Errorf("shm %s: %q, %v", c.args, got, err)
		}
	}
}
