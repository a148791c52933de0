package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/proc"
	"example.org/shm/cmd/shm/internal/segments"
	"github.com/urfave/cli/v3"
)

// rmCommand returns the command that removes segments.
func rmCommand() *cli.Command {
	return &cli.Command{
		Name:      "rm",
		Usage:     "remove segments that nobody uses",
		ArgsUsage: "SEG… | -unused",
		Description: `Rm removes the name of a segment, if no living process is attached to it. Two things prove
that: no process has it mapped, and none holds a lease. A pid proves nothing. If this user may
not see the mappings of some processes, and the segment's mode lets other users attach, rm
refuses: root sees all. A process of root that only reads is not seen by other users. One in a
pid namespace out of sight is known by its lease alone, which who uses no locks does not have.

-unused removes all segments in ` + segments.Dir + ` that nobody uses. It leaves out what cannot be read,
and what is damaged. A segment in use has the exit status 5.

A program may attach between the look and the removal. It then keeps the memory, and
programs that open the name later share nothing with it.

Examples:
   shm rm board
   shm rm -unused -n     # which would be removed`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "unused", Usage: "remove all segments that nobody uses"},
			&cli.BoolFlag{Name: "n", Usage: "remove nothing: print what would be removed"},
			formFlag(form.Table),
		},
		Action: func(_ context.Context, c *cli.Command) error {
			names, unused := c.Args().Slice(), c.Bool("unused")
			if unused == (len(names) > 0) {
				return usageError{errors.New("give the names of segments, or -unused")}
			}
			maps, err := proc.Scan()
			if err != nil {
				return err
			}
			if unused && maps.Blind {
				return errors.New("this system does not show which processes map a file, so nobody knows which segments are unused: name those to remove")
			}
			if unused {
				all, _, err := segments.Names()
				if err != nil {
					return err
				}
				names = all
			}
			r := &form.Report{Kind: "removed", Columns: form.Columns("segment", ">size", "result")}
			var kept error
			for _, name := range names {
				data, err := remove(name, maps, c.Bool("n"), unused)
				if errors.Is(err, fs.ErrNotExist) && unused {
					continue
				}
				mark := form.None
				if err != nil {
					data.Result, data.Error, mark = "kept: "+err.Error(), err.Error(), form.Warn
					if errors.Is(err, fs.ErrNotExist) {
						data.Result = "there is no such segment"
					}
					if kept == nil {
						kept = err
					}
				}
				r.Add(form.Row{Cells: []string{form.Name(name), form.Bytes(data.Memory), form.Line(data.Result)}, Data: data, Mark: mark})
			}
			if r.Empty() {
				r.Notes = []string{"there is no segment in " + segments.Dir}
			}
			if err := printerFor(c).Report(r); err != nil {
				return err
			}
			if kept != nil && !unused {
				return statusError{error: kept, status: statusOf(context.Background(), kept), silent: true}
			}
			return nil
		},
	}
}

// removalData is a removal in JSON.
type removalData struct {
	Segment string `json:"segment"`
	Memory  int64  `json:"memory"` // bytes that it takes
	Removed bool   `json:"removed"`
	Result  string `json:"result"`
	Error   string `json:"error,omitempty"`
}

// remove removes a segment that nobody uses, unless dry is true. If sound is true, it leaves
// one that is damaged.
func remove(name string, maps *proc.Maps, dry, sound bool) (removalData, error) {
	d := removalData{Segment: name}
	file, err := segments.Stat(name)
	if err != nil {
		return d, err
	}
	d.Memory = file.Used
	if err := unused(name, file, maps, sound); err != nil {
		return d, err
	}
	// What was looked at must be what is removed.
	if again, err := segments.Stat(name); err != nil || again.Dev != file.Dev || again.Inode != file.Inode {
		return d, statusError{error: errors.New("another file has got the name meanwhile"), status: statusLocked}
	}
	if dry {
		d.Result = "would be removed"
		return d, nil
	}
	if err := shm.Remove(name); err != nil {
		return d, err
	}
	d.Removed, d.Result = true, "removed"
	return d, nil
}

// unused returns why a segment is or may be in use, or nil. If sound is true, it returns what
// is damaged in it too.
func unused(name string, file segments.File, maps *proc.Maps, sound bool) error {
	inUse := func(format string, args ...any) error {
		return statusError{error: fmt.Errorf(format, args...), status: statusLocked}
	}
	if attached := maps.Of(proc.KeyOf(file.Dev, file.Inode)); len(attached) > 0 {
		return inUse("%s (pid %d) has it mapped; shm ps lists all", form.Name(attached[0].Program), attached[0].Pid)
	}
	s, err := segments.Look(name)
	if err != nil {
		return err
	}
	defer s.Close()
	if sound {
		if err := s.Check(); err != nil {
			return err
		}
	}
	leased, err := s.Leased()
	if err != nil {
		return err
	}
	if leased {
		return inUse("a process out of sight holds a lease on it")
	}
	if notes := hiddenNote(maps); !maps.Blind && len(notes) > 0 && file.Mode.Perm()&0o077 != 0 {
		return inUse("%s, and the mode lets other users attach: %s", notes[0], whoSees(os.Geteuid()))
	}
	return nil
}

// whoSees returns the advice for a user who may not see the mappings of some processes.
func whoSees(uid int) string {
	if uid == 0 { // as in a container without the capability
		return "run it with the capability CAP_SYS_PTRACE, in the pid namespace of those processes"
	}
	return "ask root"
}
