package sys

import (
	"os"
	"path/filepath"
)

// Program returns the name of this program's file, without directories. It is
// "" in a library that another language has loaded. It never blocks.
func Program() string { return program }

var program = func() string {
	if len(os.Args) == 0 { // in a library that another language loaded
		return ""
	}
	return filepath.Base(os.Args[0])
}()
