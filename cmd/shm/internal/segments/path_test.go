package segments_test

import (
	"path/filepath"
	"runtime"
	"testing"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/segments"
	"example.org/shm/internal/shmtest"
)

func TestIsPath(t *testing.T) {
	for name, want := range map[string]bool{
		"x": false, "..x": false, "./x": true, "/x": true, "../x": true,
		`..\x`: runtime.GOOS == "windows", `C:\x`: runtime.GOOS == "windows", "C:x": runtime.GOOS == "windows",
	} {
		if got := segments.IsPath(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A dump is read from a path as the system writes it.
func TestReadFromPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dump.json")
	shmtest.WriteFile(t, path, []byte(`{"schema": 1, "segment": "x", "values": []}`))
	d, err := segments.Read(path)
	if err != nil || d.Segment != "x" {
		t.Errorf("%v, %v", d, err)
	}
	if _, err := segments.Read(shm.Path("none of this name")); err == nil {
		t.Error("a dump that is not there was read")
	}
}
