package main

import (
	"os"
	"path/filepath"
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
