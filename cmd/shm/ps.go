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
		Description: `Ps lists each process that has a segment mapped, whether it can write to it, and the locks
that it holds. Processes that are not to be seen are listed as well, if they use locks: the dead
that still hold one, which the next program gets, and those in other pid namespaces or of other
users.

Examples:
   shm ps
   shm ps -o json board`,
		Flags: []cli.Flag{formFlag(form.Table)},
		Action: func(_ context.Context, c *cli.Command) error {
			args, err := arguments(c, 0, 1)
			if err != nil {
				return err
			}
			names := args
			if len(names) == 0 {
				if names, _, err = segments.Names(); err != nil {
					return err
				}
			}
			maps, err := proc.Scan()
			if err != nil {
				return err
			}
			r := &form.Report{Kind: "processes", Columns: form.Columns("segment", ">pid", "program", "state", "access", "holds")}
			for _, name := range names {
				rows, err := processRows(name, maps)
				switch {
				case err == nil:
				case len(args) > 0:
					return err
				case errors.Is(err, fs.ErrNotExist):
					continue
				default:
					r.Notes = append(r.Notes, form.Line(err.Error()))
				}
				r.Rows = append(r.Rows, rows...)
			}
			if len(r.Rows) == 0 {
				r.Notes = append(r.Notes, "nobody is attached")
			}
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
	Holds     []string   `json:"holds"` // names of locks
}

// processRows lists the processes of one segment. Beside an error, it returns those that
// could be found out.
func processRows(name string, maps *proc.Maps) (rows []form.Row, err error) {
	file, err := segments.Stat(name)
	if err != nil {
		return nil, err
	}
	attached := maps.Of(proc.KeyOf(file.Dev, file.Inode))
	byPid := map[int]*processData{}
	var all []*processData
	for _, p := range attached {
		d := &processData{Segment: name, Pid: p.Pid, NSPid: p.NSPid, Namespace: p.PidNS, Program: p.Program, State: p.State, ReadOnly: p.ReadOnly, Holds: []string{}}
		byPid[p.Pid], all = d, append(all, d)
	}
	s, err := segments.Look(name)
	if err == nil {
		defer s.Close()
		shown, byID := seen(s, attached), map[uint32]*processData{}
		for p := range s.Processes() {
			if q, ok := shown[p.ID]; ok {
				byPid[q.Pid].ID, byID[p.ID] = p.ID, byPid[q.Pid]
				continue
			}
			d := &processData{Segment: name, ID: p.ID, NSPid: p.Pid, Program: p.Program, State: proc.Unknown, Holds: []string{}}
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
		err = s.Check()
	}
	for _, d := range all {
		rows = append(rows, d.row())
	}
	return rows, err
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
	var holds []string
	for _, name := range d.Holds {
		holds = append(holds, form.Name(name))
	}
	return form.Row{Cells: []string{form.Name(d.Segment), pid, program, string(d.State), access, strings.Join(holds, " ")}, Data: d, Mark: mark}
}
