package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/proc"
)

// What precedes the data of a value that has a lock, and where in it the words are on
// which processes sleep: see docs/FORMAT.md, Lock cell.
const (
	cellSize   = 64
	lockWord   = 0
	changeWord = 4
)

// waits is what processes sleep on in a segment.
type waits struct {
	locks   map[int][]string          // names, by the pid of the process that waits for one
	changes map[int][]string          // by the pid of the process that waits for a change of them
	waiters map[string][]proc.Process // of a lock, by its name
	hidden  int                       // processes that this user may not trace
}

// waitsOf finds out on which words of a segment the processes sleep that have it mapped.
func waitsOf(s *shm.Segment, key proc.Key, attached []proc.Process) waits {
	w := waits{locks: map[int][]string{}, changes: map[int][]string{}, waiters: map[string][]proc.Process{}}
	var locked []shm.Entry // in the order of their places
	for _, p := range attached {
		offsets, err := proc.Words(p.Pid, key)
		if errors.Is(err, fs.ErrPermission) {
			w.hidden++
		}
		if len(offsets) == 0 {
			continue
		}
		if locked == nil {
			for e := range s.Entries() {
				locked = append(locked, e)
			}
			slices.SortFunc(locked, func(a, b shm.Entry) int { return int(a.Offset - b.Offset) })
		}
		for _, off := range offsets {
			name, ok := valueAt(locked, off)
			switch {
			case !ok:
			case off%cellSize == lockWord && !slices.Contains(w.locks[p.Pid], name):
				w.locks[p.Pid] = append(w.locks[p.Pid], name)
				w.waiters[name] = append(w.waiters[name], p)
			case off%cellSize == changeWord && !slices.Contains(w.changes[p.Pid], name):
				w.changes[p.Pid] = append(w.changes[p.Pid], name)
			}
		}
	}
	return w
}

// valueAt returns the name of the value that has a lock cell with a word at an offset. Of
// Mutexes and of the rows of a Table it is the name with the index.
func valueAt(entries []shm.Entry, off int64) (name string, ok bool) {
	i, _ := slices.BinarySearchFunc(entries, off, func(e shm.Entry, off int64) int {
		if e.Offset-cellSize <= off { // the first cell is before the data, or is what Offset says
			return -1
		}
		return 1
	})
	if i == 0 {
		return "", false
	}
	e := entries[i-1]
	if _, ok := e.Lock(); !ok {
		return "", false
	}
	switch {
	case e.Type() == "Mutexes":
		return fmt.Sprintf("%s[%d]", e.Name, (off-e.Offset)/cellSize), true
	case isTable(e):
		d, err := e.Description()
		if err != nil {
			return "", false
		}
		lines := (d.Room + cellSize - 1) / cellSize // of each of the two slots of a row
		return fmt.Sprintf("%s[%d]", e.Name, (off-e.Offset+cellSize)/(cellSize+2*lines*cellSize)), true
	}
	return e.Name, true
}

// note says for whom it is not known what they wait for.
func (w waits) note() []string {
	if w.hidden == 0 {
		return nil
	}
	return []string{fmt.Sprintf("this user may not see what %d of the processes wait for", w.hidden)}
}
