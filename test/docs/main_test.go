// Package docs_test holds the documents, and the rules of the source, against the
// source. It runs the code that documents show, and looks for each name, link and
// command that they mention.
package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.org/shm/internal/shmtest"
)

func TestMain(m *testing.M) { shmtest.Main(m) }

// read returns the text of a file, whose path is from the root of this module.
func read(t testing.TB, path string) string {
	t.Helper()
	return string(shmtest.Must(os.ReadFile(filepath.Join(shmtest.Root(t), filepath.FromSlash(path))))(t))
}

// files returns the paths of all files of this module, from its root and with
// slashes.
func files(t testing.TB) []string {
	t.Helper()
	root := shmtest.Root(t)
	walk.Do(func() {
		walk.err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && path != root && (d.Name() == ".git" || d.Name() == "__pycache__") {
				return fs.SkipDir
			}
			if d.Type().IsRegular() {
				name, err := filepath.Rel(root, path)
				walk.files = append(walk.files, filepath.ToSlash(name))
				return err
			}
			return nil
		})
	})
	if walk.err != nil {
		t.Fatal(walk.err)
	}
	return walk.files
}

var walk struct {
	sync.Once
	files []string
	err   error
}

// filesNamed returns those of the files whose paths have that suffix, and are not
// below one of the directories.
func filesNamed(t testing.TB, suffix string, except ...string) (names []string) {
	t.Helper()
	for _, name := range files(t) {
		below := func(dir string) bool { return strings.HasPrefix(name, dir+"/") || strings.Contains(name, "/"+dir+"/") }
		if strings.HasSuffix(name, suffix) && !slices.ContainsFunc(except, below) {
			names = append(names, name)
		}
	}
	return names
}
