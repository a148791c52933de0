package main

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/proc"
	"example.org/shm/cmd/shm/internal/segments"
)

// sighting is when a holder was first seen.
type sighting struct {
	id uint32
	at time.Time
}

// lockWatch looks at locks, and remembers since when it has seen their holders.
type lockWatch struct {
	names []string // of segments; none: all
	all   bool
	since map[string]sighting
	notes []string
}

// look returns the locks as they are.
func (w *lockWatch) look() (locks []lockData, err error) {
	w.notes = nil
	names, one := w.names, len(w.names) > 0
	if !one {
		unread := 0
		if names, unread, err = segments.Names(); err != nil {
			return nil, err
		}
		w.notes = append(w.notes, unreadNote(unread)...)
	}
	maps, err := proc.Scan()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		found, err := w.lookAt(name, maps)
		switch {
		case err == nil:
			locks = append(locks, found...)
		case one:
			return nil, err
		case !errors.Is(err, fs.ErrNotExist):
			w.notes = append(w.notes, form.Line(err.Error()))
		}
	}
	return locks, nil
}

// lookAt returns the locks of one segment.
func (w *lockWatch) lookAt(name string, maps *proc.Maps) (locks []lockData, err error) {
	s, err := segments.Look(name)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	file, err := segments.Stat(name)
	if err != nil {
		return nil, err
	}
	key := proc.KeyOf(file.Dev, file.Inode)
	attached := maps.Of(key)
	byID, waiters := seen(s.Processes(), attached), map[string][]proc.Process(nil)
	now := time.Now()
	for e := range s.Entries() {
		for lock, info := range locksOf(e) {
			seen := name + "\x00" + lock
			if !info.Held {
				delete(w.since, seen)
			} else if last, ok := w.since[seen]; !ok || last.id != info.ID {
				w.since[seen] = sighting{info.ID, now}
			}
			if w.all || info.Held || info.Abandoned {
				l := lockDataOf(name, lock, info, byID, now.Sub(w.since[seen].at))
				if info.Waiting {
					if waiters == nil {
						waiters = waitsOf(s, key, attached).waiters
					}
					for _, p := range waiters[lock] {
						l.Waiters = append(l.Waiters, p.Pid)
					}
				}
				locks = append(locks, l)
			}
		}
	}
	return locks, s.Check()
}

// follow prints a line for each change of a holder.
func (w *lockWatch) follow(ctx context.Context, every time.Duration, p *form.Printer) error {
	type key struct{ segment, name string }
	type state struct {
		id    uint32
		state proc.State
		held  bool
	}
	before := map[key]state{}
	for {
		locks, err := w.look()
		if err != nil {
			return err
		}
		now := map[key]state{}
		for _, l := range locks {
			k, s := key{l.Segment, l.Name}, state{l.ID, l.State, l.Held}
			now[k] = s
			if old, known := before[k]; !known && l.Held || known && old != s {
				if err := p.Row(l.event()); err != nil {
					return err
				}
			}
		}
		for k, s := range before {
			if _, still := now[k]; !still && s.held {
				if err := p.Row(lockData{Segment: k.segment, Name: k.name}.event()); err != nil {
					return err
				}
			}
		}
		before = now
		if err := pause(ctx, every); err != nil {
			return err
		}
	}
}
