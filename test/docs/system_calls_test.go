package docs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// The tables of system calls are what package sys says of itself.
func TestSystemCallsPage(t *testing.T) {
	page := string(shmtest.Must(os.ReadFile(filepath.Join(shmtest.Root(t), "docs/system-calls.md")))(t))
	page = strings.ReplaceAll(page, "`", "")
	_, needed, ok1 := strings.Cut(page, "## Needed")
	needed, optional, ok2 := strings.Cut(needed, "## Optional")
	optional, _, ok3 := strings.Cut(optional, "\n## ")
	if !ok1 || !ok2 || !ok3 {
		t.Fatal("the page has other sections")
	}
	rows := map[bool][]string{}
	for _, c := range sys.Calls() {
		row := "| " + c.Name + " | " + c.For + " |"
		if !c.Needed {
			row += " " + c.Without + " |"
		}
		rows[c.Needed] = append(rows[c.Needed], row)
		in := optional
		if c.Needed {
			in = needed
		}
		if !strings.Contains(in, row) {
			t.Errorf("the page lacks %s", row)
		}
	}
	for isNeeded, text := range map[bool]string{true: needed, false: optional} {
		if have, want := strings.Count(text, "\n| "), len(rows[isNeeded])+1; have != want { // and the head
			t.Errorf("needed %v: the page has %d rows, want %d", isNeeded, have, want)
		}
	}
}
