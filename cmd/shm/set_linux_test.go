package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"example.org/shm"
)

// worker is a row of a Table in the tests.
type worker struct {
	Jobs  int64
	Speed float64
}

// workers makes a segment with a Table of three rows, and returns its name.
func workers(t *testing.T) (name string, table shm.Table[worker], e shm.Entry) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "workers")
	s, err := shm.Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if table, err = shm.NewTable[worker](s, "workers", 3); err != nil {
		t.Fatal(err)
	}
	e, _ = s.Lookup("workers")
	return name, table, e
}

// waited waits until a process waits for the lock of a row.
func waited(t *testing.T, e shm.Entry, row int) {
	t.Helper()
	eventually(t, "a process waits for the row", func() bool {
		for i, l := range e.Locks() {
			if i == row {
				return l.Waiting
			}
		}
		return false
	})
}

// Set and add change a row of a Table under the row's lock: what the holder commits while
// they wait is what they compare with and add to.
func TestRowsAreChangedUnderTheirLocks(t *testing.T) {
	t.Parallel()
	name, table, e := workers(t)
	for _, c := range []struct {
		args   []string
		status int
		says   string
		want   int64
	}{
		{[]string{"add", "-timeout", "60s", name, "workers[2].Jobs", "5"}, statusFine, "workers[2].Jobs: 101 -> 106\n", 106},
		{[]string{"set", "-timeout", "60s", "-if", "100", name, "workers[2].Jobs=500"}, statusFailed, "workers[2].Jobs is 101, not 100", 101},
	} {
		table.Row(2).Store(worker{Jobs: 100})
		r := prepare(t, c.args...)
		table.Row(2).Update(func(w *worker) {
			if err := r.Start(); err != nil {
				t.Error(err)
			}
			waited(t, e, 2)
			w.Jobs++
		})
		status := r.status()
		if says := r.stdout.String() + r.stderr.String(); status != c.status || !strings.Contains(says, c.says) || table.Row(2).Load().Jobs != c.want {
			t.Errorf("%q: exit status %d, %q; the row is %v", c.args[0], status, says, table.Row(2).Load())
		}
	}
}

// The lock of a row for which a process waits is told by its index.
func TestWaitersForRowsAreShown(t *testing.T) {
	t.Parallel()
	name, table, e := workers(t)
	r := prepare(t, "add", "-timeout", "60s", name, "workers[2].Jobs", "5")
	table.Row(2).Update(func(*worker) {
		if err := r.Start(); err != nil {
			t.Error(err)
		}
		waited(t, e, 2)
		eventually(t, "the waiter is shown by locks and ps", func() bool {
			locks, ps := shmTool(t, "locks", "-o", "jsonl", name), shmTool(t, "ps", "-o", "jsonl", name)
			return strings.Contains(locks.stdout, fmt.Sprintf(`"waiters":[%d]`, r.Process.Pid)) && strings.Contains(ps.stdout, `"waits_for":["workers[2]"]`)
		})
	})
	if status := r.status(); status != 0 {
		t.Errorf("exit status %d, %q", status, &r.stderr)
	}
}

// A change of a row that is given up names the lock of that row, and not one of another.
func TestGivenUpRowIsNamed(t *testing.T) {
	t.Parallel()
	name, table, e := workers(t)
	table.Row(0).Update(func(*worker) {
		first := prepare(t, "add", name, "workers[0].Jobs", "5") // which waits all the while
		if err := first.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = first.Process.Kill(); first.status() }()
		waited(t, e, 0)
		table.Row(2).Update(func(*worker) {
			r := shmTool(t, "add", "-timeout", "10ms", name, "workers[2].Jobs", "5")
			if r.status != statusLocked || !strings.Contains(r.stderr, "gave up on the lock of workers[2], ") {
				t.Errorf("exit status %d, %q", r.status, r.stderr)
			}
		})
	})
}
