//go:build !windows

package bench

import (
	"os"
	"os/exec"
)

// inherited has files for a child, which finds them from descriptor 3 on.
type inherited []*os.File

func newInherited(files []*os.File) (inherited, error) { return files, nil }

// numbers returns the numbers that the files have in the child.
func (h inherited) numbers() (all []uintptr) {
	for i := range h {
		all = append(all, uintptr(3+i))
	}
	return all
}

// to makes the process that cmd will start inherit the files.
func (h inherited) to(cmd *exec.Cmd) { cmd.ExtraFiles = h }

// close does nothing: package exec duplicates the descriptors.
func (h inherited) close() {}
