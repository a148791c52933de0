package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"example.org/shm"
	"example.org/shm/c"
)

// course is a run of the curves.
type course struct {
	ctx  context.Context
	dir  string
	span time.Duration // of a measurement that lasts
	own  string        // this program
}

// segment makes a segment in a directory of its own, where workers find it. The caller
// closes it with the function that is returned, which removes it too.
func (k *course) segment() (s *shm.Segment, dir string, remove func(), err error) {
	if dir, err = os.MkdirTemp(k.dir, ""); err != nil {
		return nil, "", nil, err
	}
	if s, err = shm.Open(segmentIn(dir), nil); err != nil {
		return nil, "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, dir, func() { _ = s.Close(); _ = os.RemoveAll(dir) }, nil
}

// start starts a worker of this program.
func (k *course) start(name, dir string) (*worker, error) {
	return startWorker(exec.CommandContext(k.ctx, k.own, "worker", name, dir))
}

// quiet ends a worker that does nothing any more.
func quiet(w *worker) {
	_ = w.in.Close()
	w.kill()
}

// crowd compiles the program that forks processes, once.
func (k *course) crowd() (program string, err error) {
	program = filepath.Join(k.dir, "crowd")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	sources, err := sourcesIn(k.dir)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(k.dir, "shm.h"), []byte(c.Header), 0o600); err != nil {
		return "", err
	}
	out, err := exec.CommandContext(k.ctx, "cc", "-O1", "-pthread", "-o", program, filepath.Join(sources, "crowd.c")).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("not built: %w: %s", err, out)
	}
	return program, nil
}
