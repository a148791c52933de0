package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/user"
	"runtime"
	"strconv"
	"strings"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/proc"
	"example.org/shm/cmd/shm/internal/segments"
	"github.com/urfave/cli/v3"
)

// segmentsCommand returns the command without a name, which lists the segments.
func segmentsCommand() *cli.Command {
	return &cli.Command{
		Name:  "shm",
		Usage: "see and change typed values in shared memory",
		Description: `Without a command, shm lists the segments in ` + segments.Dir + `: how large they are, who owns
them, which processes have them mapped, how many locks are held, and by the dead. It
disturbs nothing: it attaches without write permission, and takes no lock and no lease.

A segment is named as programs name it: NAME is ` + shm.Path("NAME") + `, and a name with ` + segments.PathMark + `
is the path of a file. A value is NAME, a part of it NAME.FIELD or NAME[INDEX], in any depth.
Names that begin with a dash come after --, as in shm get board -- -limit.

Exit status: 0 fine, 1 failed, 2 usage, 3 absent, 4 layout differs, 5 locked or timed out,
6 damaged, 130 interrupted. With -o json, errors are JSON on standard error.

Examples:
   shm                                list the segments
   shm ls board                       list the values of one
   shm set -if 8 board config.Limit=10
   shm wait board requests 'requests >= 1000'
   shm locks                          which locks are held, and by whom`,
		Flags: []cli.Flag{formFlag(form.Table)},
		Action: func(_ context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return usageError{fmt.Errorf("no command %q; shm -h lists them", c.Args().First())}
			}
			report, err := segmentsReport()
			if err != nil {
				return err
			}
			return printerFor(c).Report(report)
		},
	}
}

// segmentRow is what there is to say of a segment.
type segmentRow struct {
	Name      string `json:"name"`
	Path      string `json:"path"`
	Size      int64  `json:"size"`      // bytes in use
	FileSize  int64  `json:"file_size"` // that the file claims
	Memory    int64  `json:"memory"`    // that it takes
	Values    int    `json:"values"`
	Owner     string `json:"owner"`
	Mode      string `json:"mode"`
	Processes []int  `json:"processes"` // pids that have it mapped
	Leased    bool   `json:"leased"`    // a process that uses its locks lives
	Held      int    `json:"locks_held"`
	DeadHeld  int    `json:"dead_holders"`
	State     string `json:"state"`
	Error     string `json:"error,omitempty"`
}

func segmentsReport() (*form.Report, error) {
	names, unread, err := segments.Names()
	if err != nil {
		return nil, err
	}
	maps, err := proc.Scan()
	if err != nil {
		return nil, err
	}
	r := &form.Report{Kind: "segments", Columns: form.Columns("segment", ">size", ">values", "owner", "mode", ">processes", ">held", "state")}
	for _, name := range names {
		row, err := segmentRowOf(name, maps)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was removed meanwhile
		}
		mark := form.None
		switch {
		case row.Error != "" || row.DeadHeld > 0:
			mark = form.Bad
		case len(row.Processes) == 0 && !row.Leased:
			mark = form.Warn
		}
		r.Add(form.Row{
			Cells: []string{form.Name(row.Name), form.Bytes(row.Size), strconv.Itoa(row.Values), form.Text(row.Owner), row.Mode, strconv.Itoa(len(row.Processes)), strconv.Itoa(row.Held), form.Line(row.State)},
			Data:  row, Mark: mark,
		})
	}
	if len(names) == 0 {
		r.Notes = append(r.Notes, "there is no segment in "+segments.Dir)
	}
	r.Notes = append(r.Notes, unreadNote(unread)...)
	r.Notes = append(r.Notes, hiddenNote(maps)...)
	return r, nil
}

// unreadNote says that there are so many files of which this user cannot know what they are.
func unreadNote(files int) []string {
	if files == 0 {
		return nil
	}
	return []string{form.Count(files, "file") + " in " + segments.Dir + " cannot be read by this user, and may be segments"}
}

// hiddenNote says that the list of processes may be incomplete.
func hiddenNote(maps *proc.Maps) []string {
	if maps.Blind {
		return []string{"this system does not show which processes map a file; those with a lease are known"}
	}
	if maps.Unlisted {
		return []string{"this user may not see all processes: /proc leaves out some"}
	}
	if maps.Hidden == 0 {
		return nil
	}
	return []string{"this user may not see the mappings of " + form.Count(maps.Hidden, "other process", "other processes")}
}

// segmentRowOf looks at one segment. What cannot be found out is in Error.
func segmentRowOf(name string, maps *proc.Maps) (row segmentRow, err error) {
	file, err := segments.Stat(name)
	if err != nil {
		return row, err
	}
	row = segmentRow{
		Name: name, Path: file.Path, FileSize: file.Size, Memory: file.Used, Size: file.Size,
		Owner: ownerName(file.UID), Mode: file.Mode.String(), Processes: []int{},
	}
	for _, p := range maps.Of(proc.KeyOf(file.Dev, file.Inode)) {
		row.Processes = append(row.Processes, p.Pid)
	}
	row.State = stateOf(&row, lookAt(name, &row))
	return row, nil
}

// lookAt fills in what only the segment itself says.
func lookAt(name string, row *segmentRow) error {
	s, err := segments.Look(name)
	if err != nil {
		return err
	}
	defer s.Close()
	row.Size = s.Size()
	for e := range s.Entries() {
		row.Values++
		for _, l := range e.Locks() {
			if l.Held {
				row.Held++
			}
			if l.Held && !l.Alive {
				row.DeadHeld++
			}
		}
	}
	if row.Leased, err = s.Leased(); err != nil {
		return err
	}
	return s.Check()
}

// stateOf says what is to be noticed first.
func stateOf(row *segmentRow, err error) string {
	if err != nil {
		row.Error = err.Error()
		switch {
		case errors.Is(err, shm.ErrVersion):
			return "of another format version"
		case errors.Is(err, shm.ErrFormat):
			return "damaged"
		}
		return "cannot be read: " + strings.TrimPrefix(err.Error(), "shm: ")
	}
	var parts []string
	if row.DeadHeld > 0 {
		parts = append(parts, form.Count(row.DeadHeld, "lock")+" of dead holders")
	}
	switch {
	case len(row.Processes) > 0:
	case row.Leased:
		parts = append(parts, "in use by processes out of sight")
	default:
		parts = append(parts, "nobody attached")
	}
	if row.FileSize > 16*max(row.Size, 1<<20) {
		parts = append(parts, "the file claims "+form.Bytes(row.FileSize)+", and takes "+form.Bytes(row.Memory))
	}
	if len(parts) == 0 {
		return "in use"
	}
	return strings.Join(parts, ", ")
}

// userName returns the name of a user, or the number if there is none.
func ownerName(uid uint32) string {
	if runtime.GOOS == "windows" { // it has no user ids
		return ""
	}
	return userName(uid)
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}
