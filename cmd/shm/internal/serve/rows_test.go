package serve

import (
	"strings"
	"testing"

	"example.org/shm"
)

// TestRowsOfATableHaveTheirOwnLock shows the lock of a Table's row at the fields of that row
// alone.
func TestRowsOfATableHaveTheirOwnLock(t *testing.T) {
	s, err := shm.Anonymous(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	table, err := shm.NewTable[struct{ Jobs, Done int64 }](s, "workers", 3)
	if err != nil {
		t.Fatal(err)
	}
	table.Row(2).Mutex().Lock()
	defer table.Row(2).Mutex().Unlock()
	e, _ := s.Lookup("workers")
	var d reader
	rows := rowsOf(0, e)
	if len(rows) != 6 {
		t.Fatal(rows)
	}
	for i := range rows {
		held := d.read(&rows[i]).flags&flagHeld != 0
		if want := strings.HasPrefix(rows[i].name, "workers[2]"); held != want {
			t.Errorf("%s: held %v", rows[i].name, held)
		}
	}
}
