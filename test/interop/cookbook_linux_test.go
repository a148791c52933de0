package interop_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// What follows is shown in python/COOKBOOK.md.

type request struct {
	N int64
	X [4]float64
}

type answer struct {
	N int64
	Y float64
}

type service struct {
	Turn     *shm.Mutex          `shm:"turn"`
	Requests shm.Struct[request] `shm:"requests"`
	Answers  shm.Struct[answer]  `shm:"answers"`
}

// predict asks the model, one question at a time, whatever process asks.
func (s *service) predict(ctx context.Context, x [4]float64) (float64, error) {
	if err := s.Turn.LockContext(ctx); err != nil {
		return 0, err
	}
	defer s.Turn.Unlock()
	n := s.Requests.Load().N + 1
	s.Requests.Store(request{n, x})
	a, err := s.Answers.Await(ctx, func(a answer) bool { return a.N == n })
	return a.Y, err
}

// predictor asks the model of the cookbook twice.
var predictor = shmtest.Helper("predictor", func(args []string) error {
	seg, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	var s service
	if err := shm.Bind(seg, &s); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, x := range [][4]float64{{1, 2, 3, 4}, {10, 0, 0, 0}} {
		y, err := s.predict(ctx, x)
		if err != nil {
			return err
		}
		fmt.Println(y)
	}
	return nil
})

// TestCookbookCode checks that the Go code of python/COOKBOOK.md is in this file. The
// programs in Python are run by python/tests/test_cookbook.py.
func TestCookbookCode(t *testing.T) {
	ours := spaces(string(shmtest.Must(os.ReadFile("cookbook_linux_test.go"))(t)))
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(shmtest.Must(os.ReadFile(filepath.Join(shmtest.Root(t), "python", "COOKBOOK.md")))(t)), -1)
	if len(blocks) == 0 {
		t.Fatal("python/COOKBOOK.md has no code in Go")
	}
	for _, m := range blocks {
		if !strings.Contains(ours, spaces(m[1])) {
			t.Errorf("code that no test runs:\n%s", m[1])
		}
	}
}

// spaces returns a text with one space for each run of white space.
func spaces(text string) string { return strings.Join(strings.Fields(text), " ") }
