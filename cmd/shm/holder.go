package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/proc"
	"example.org/shm/cmd/shm/internal/segments"
	"example.org/shm/cmd/shm/internal/value"
)

// withHolder says who holds the lock for which a change of a part has waited in vain.
func withHolder(s *shm.Segment, p value.Part, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	e := p.Entry
	name, l, ok := heldLock(p)
	if !ok {
		return err
	}
	held := l.String()
	if file, err := segments.Stat(s.Name()); err == nil && l.Alive {
		if maps, err := proc.Scan(); err == nil {
			if p, ok := seen(s.Processes(), maps.Of(proc.KeyOf(file.Dev, file.Inode)))[l.ID]; ok {
				held = fmt.Sprintf("held by %s (pid %d), which is %s", form.Name(p.Program), p.Pid, p.State)
			}
		}
	}
	what := "it"
	if isTable(e) { // of which the rows before may be changed
		what = "this row"
	}
	return statusError{error: fmt.Errorf("gave up on the lock of %s, which is %s: %s was not changed", name, held, what), status: statusLocked}
}

// heldLock returns the name and the state of the lock that a process waits for in vain: of a
// Table it is the lock of a row: of the one that the part is in, or else of one that is held
// while others wait.
func heldLock(p value.Part) (name string, l shm.LockInfo, ok bool) {
	e := p.Entry
	for i, lock := range e.Locks() {
		if !lock.Held || ok && !lock.Waiting {
			continue
		}
		if isTable(e) && len(p.Path) > 0 && i != p.Path[0].Index {
			continue
		}
		name, l, ok = form.Name(e.Name), lock, true
		if isTable(e) {
			name = fmt.Sprintf("%s[%d]", name, i)
		}
		if lock.Waiting { // as this process has
			break
		}
	}
	return name, l, ok
}

func isTable(e shm.Entry) bool { return strings.HasPrefix(e.Type(), "Table[") }
