//go:build !windows

package bench

import (
	"os"
	"os/exec"
)

// heritage has files for a child, which finds them from descriptor 3 on.
type heritage []*os.File

func newHeritage(files []*os.File) (heritage, error) { return files, nil }

// numbers returns the numbers that the files have in the child.
func (h heritage) numbers() (all []uintptr) {
	for i := range h {
		all = append(all, uintptr(3+i))
	}
	return all
}

// to makes the process that cmd will start inherit the files.
func (h heritage) to(cmd *exec.Cmd) { cmd.ExtraFiles = h }

// close does nothing: package exec duplicates the descriptors.
func (h heritage) close() {}
