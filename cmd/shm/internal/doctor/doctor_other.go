//go:build !linux

package doctor

import (
	"os"
	"path/filepath"
	"runtime"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
)

// Looks says what Examine looks at.
const Looks = "the system and the directory of segments"

// Examine makes the checks that have a meaning on each system.
func Examine() []Finding {
	system := Finding{"system", Note, runtime.GOOS + "/" + runtime.GOARCH, "some promises are weaker than on Linux: see Platforms in README.md"}
	return []Finding{system, works(), place()}
}

// place looks at the directory of segments whose names are no paths.
func place() Finding {
	const check = "directory of segments"
	dir := filepath.Dir(shm.Path("x"))
	st, err := os.Stat(dir)
	switch {
	case os.IsNotExist(err):
		return Finding{check, Fine, dir, "the first segment makes it"}
	case err != nil:
		return Finding{check, Bad, form.Text(err.Error()), "no segment with a name can be made"}
	case !st.IsDir():
		return Finding{check, Bad, dir + " is no directory", "remove it"}
	}
	return Finding{check, Fine, dir, ""}
}
