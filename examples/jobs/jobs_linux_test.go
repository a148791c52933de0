package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.org/shm"
	"example.org/shm/examples/internal/programs"
	"example.org/shm/shmtest"
)

func TestMain(m *testing.M) { shmtest.Main(m) }

// attach opens a board of a name of its own.
func attach(t *testing.T) (name string, b *board) {
	name = filepath.Join(t.TempDir(), "board")
	seg, err := shm.Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = seg.Close() })
	b = new(board)
	if err := shm.Bind(seg, b); err != nil {
		t.Fatal(err)
	}
	return name, b
}

func TestEachJobIsDone(t *testing.T) {
	t.Parallel()
	name, b := attach(t)
	program := filepath.Join(programs.Build(t, "."), "jobs")
	start := func(args ...string) *programs.Process {
		return programs.Start(t, program, append([]string{"-name", name}, args...)...)
	}
	workers := map[int]*programs.Process{}
	work := func() {
		p := start("-pause", "20ms", "work")
		workers[p.Pid()] = p
	}
	for range 3 {
		work()
	}
	var texts []string
	for i := range 100 { // more than there are places
		texts = append(texts, fmt.Sprintf("job %d", i))
	}
	poster := start(append([]string{"post"}, texts...)...)
	results := start("wait", fmt.Sprint(len(texts)))
	const kills = 5
	for range kills {
		// Kill a worker that has a job.
		programs.Eventually(t, "a worker holds a claim", func() bool {
			for i := range b.Claims.Len() {
				if owner, ok := b.Claims.Owner(i); ok && workers[owner.Pid] != nil && b.Jobs.Row(i).Load().Worker == int32(owner.Pid) {
					workers[owner.Pid].Kill()
					delete(workers, owner.Pid)
					return true
				}
			}
			return false
		})
		work()
	}
	poster.Wait()
	lines := results.Rest()
	results.Wait()
	again := 0
	for _, text := range texts {
		done := 0
		for _, line := range lines {
			if strings.HasPrefix(line, text+": ") {
				done++
				if !strings.HasSuffix(line, "(attempts: 1)") {
					again++
				}
			}
		}
		if done != 1 {
			t.Errorf("%q is done %d times", text, done)
		}
	}
	if again == 0 || again > kills {
		t.Errorf("%d jobs were begun again after %d kills", again, kills)
	}
	for _, p := range workers {
		p.Signal(syscall.SIGTERM)
		p.Wait()
	}
}
