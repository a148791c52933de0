package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/proc"
	"example.org/shm/cmd/shm/internal/segments"
	"github.com/urfave/cli/v3"
)

// psCommand returns the command that lists attached processes.
func psCommand() *cli.Command {
	return &cli.Command{
		Name:      "ps",
		Usage:     "list the processes that are attached to segments",
		ArgsUsage: "[SEG]",
		Description: `Ps lists each process that has a segment mapped, its id in the segment, whether it can write
to it, and the locks that it holds and waits for. It also lists processes whose mappings it cannot
see, if they use locks: dead processes that still hold a lock, processes in other pid namespaces,
and processes of other users. What a process waits for is the lock or value on whose word one of its
threads sleeps at this moment; only its own user and root see that.

Examples:
   shm ps
   shm ps -o json board`,
		Flags: []cli.Flag{formFlag(form.Table)},
		Action: func(_ context.Context, c *cli.Command) error {
			args, err := arguments(c, 0, 1)
			if err != nil {
				return err
			}
			names, unread := args, 0
			if len(names) == 0 {
				if names, unread, err = segments.Names(); err != nil {
					return err
				}
			}
			maps, err := proc.Scan()
			if err != nil {
				return err
			}
			r := &form.Report{Kind: "processes", Columns: form.Columns("segment", ">pid", "program", "state", "access", ">id", "holds", "waits for")}
			for _, name := range names {
				rows, notes, err := processRows(name, maps)
				r.Notes = append(r.Notes, notes...)
				switch {
				case err == nil:
				case len(args) > 0:
					return err
				case errors.Is(err, fs.ErrNotExist):
					continue
				default:
					r.Notes = append(r.Notes, form.Line(err.Error()))
				}
				r.Add(rows...)
			}
			if r.Empty() {
				r.Notes = append(r.Notes, "nobody is attached")
			}
			r.Notes = append(r.Notes, unreadNote(unread)...)
			r.Notes = append(r.Notes, hiddenNote(maps)...)
			return printerFor(c).Report(r)
		},
	}
}

// processData is an attached process in JSON.
type processData struct {
	Segment   string     `json:"segment"`
	Pid       int        `json:"pid,omitempty"` // as this machine sees it; 0 if it is not to be seen
	NSPid     int        `json:"ns_pid,omitempty"`
	Namespace string     `json:"namespace,omitempty"`
	ID        uint32     `json:"id,omitempty"` // in this segment; 0 if it uses no locks
	Program   string     `json:"program,omitempty"`
	State     proc.State `json:"state"`
	ReadOnly  bool       `json:"read_only"`
	Holds     []string   `json:"holds"`             // names of locks
	WaitsFor  []string   `json:"waits_for"`         // locks of these values
	Awaits    []string   `json:"awaits_changes_of"` // of these values
}

// processRows lists the processes of one segment. Beside an error, it returns those that
// could be found out.
func processRows(name string, maps *proc.Maps) (rows []form.Row, notes []string, err error) {
	file, err := segments.Stat(name)
	if err != nil {
		return nil, nil, err
	}
	key := proc.KeyOf(file.Dev, file.Inode)
	attached := maps.Of(key)
	byPid := map[int]*processData{}
	var all []*processData
	for _, p := range attached {
		d := &processData{Segment: name, Pid: p.Pid, NSPid: p.NSPid, Namespace: p.PidNS, Program: p.Program, State: p.State, ReadOnly: p.ReadOnly, Holds: []string{}, WaitsFor: []string{}, Awaits: []string{}}
		byPid[p.Pid], all = d, append(all, d)
	}
	s, err := segments.Look(name)
	if err == nil {
		defer s.Close()
		shown, byID := seen(s.Processes(), attached), map[uint32]*processData{}
		for p := range s.Processes() {
			if q, ok := shown[p.ID]; ok {
				byPid[q.Pid].ID, byID[p.ID] = p.ID, byPid[q.Pid]
				continue
			}
			d := &processData{Segment: name, ID: p.ID, NSPid: p.Pid, Program: p.Program, State: proc.Unknown, Holds: []string{}, WaitsFor: []string{}, Awaits: []string{}}
			if p.Namespace != 0 {
				d.Namespace = strconv.FormatUint(p.Namespace, 10)
			}
			if !p.Alive() {
				d.State = proc.Dead
			}
			byID[p.ID], all = d, append(all, d)
		}
		for e := range s.Entries() {
			for lock, info := range locksOf(e) {
				if info.Held && byID[info.ID] != nil {
					byID[info.ID].Holds = append(byID[info.ID].Holds, lock)
				}
			}
		}
		w := waitsOf(s, key, attached)
		for _, d := range byPid {
			d.WaitsFor, d.Awaits = append(d.WaitsFor, w.locks[d.Pid]...), append(d.Awaits, w.changes[d.Pid]...)
		}
		notes = w.note()
		err = s.Check()
	}
	for _, d := range all {
		rows = append(rows, d.row())
	}
	return rows, notes, err
}

func (d *processData) row() form.Row {
	pid, program, access := "", form.Name(d.Program), "read-write"
	switch {
	case d.Pid != 0:
		pid = strconv.Itoa(d.Pid)
	case d.NSPid != 0 && d.State == proc.Dead:
		pid = strconv.Itoa(d.NSPid)
	case d.NSPid != 0:
		pid = fmt.Sprintf("%d there", d.NSPid) // in another namespace
	}
	if d.Program == "" {
		program = fmt.Sprintf("id %d", d.ID)
	}
	if d.ReadOnly {
		access = "read"
	}
	if d.State == proc.Dead {
		access = ""
	}
	mark := form.None
	switch d.State {
	case proc.Dead:
		mark = form.Bad
	case proc.Stopped:
		mark = form.Warn
	}
	id := ""
	if d.ID != 0 {
		id = strconv.FormatUint(uint64(d.ID), 10)
	}
	waits := names(d.WaitsFor)
	if len(d.Awaits) > 0 {
		if waits != "" {
			waits += ", "
		}
		waits += "a change of " + names(d.Awaits)
	}
	return form.Row{Cells: []string{form.Name(d.Segment), pid, program, string(d.State), access, id, names(d.Holds), waits}, Data: d, Mark: mark}
}

// names returns names as they can be shown, with spaces between them.
func names(all []string) string {
	shown := make([]string, len(all))
	for i, name := range all {
		shown[i] = form.Name(name)
	}
	return strings.Join(shown, " ")
}
