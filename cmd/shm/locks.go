package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/proc"
	"github.com/urfave/cli/v3"
)

// locksCommand returns the command that shows locks and their holders.
func locksCommand() *cli.Command {
	return &cli.Command{
		Name:      "locks",
		Usage:     "show which locks are held, and by whom",
		ArgsUsage: "[SEG]",
		Description: `Locks lists the locks that are held, and those that a dead holder left marked as abandoned,
of one segment or of all. It looks twice, so "held for" is at least that long if the same
holder was there both times. The state is that of the holder:

   running    it holds the lock, and works or sleeps
   stopped    by a signal or a debugger: kill -CONT lets it go on
   dead       the next program that asks gets the lock
   unknown    it lives, but in a pid namespace or of a user that this user cannot see

The lease in the kernel decides between life and death, never the pid.

Examples:
   shm locks
   shm locks -a board
   shm locks -follow -o jsonl board`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "a", Usage: "list free locks as well"},
			&cli.BoolFlag{Name: "follow", Usage: "print a line when a holder comes, goes, stops or dies, until Ctrl-C"},
			&cli.DurationFlag{Name: "i", Value: 200 * time.Millisecond, Usage: "look again after `DURATION`", Validator: between(time.Millisecond, time.Hour)},
			formFlag(form.Table),
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			args, err := arguments(c, 0, 1)
			if err != nil {
				return err
			}
			w := &lockWatch{names: args, all: c.Bool("a"), since: map[string]sighting{}}
			if c.Bool("follow") {
				if c.String("o") == form.JSON {
					return usageError{errors.New("-follow does not end, so there is no whole JSON document: use -o jsonl")}
				}
				return w.follow(ctx, c.Duration("i"), printerFor(c))
			}
			if _, err := w.look(); err != nil {
				return err
			}
			if err := pause(ctx, c.Duration("i")); err != nil {
				return err
			}
			locks, err := w.look()
			if err != nil {
				return err
			}
			r := &form.Report{Kind: "locks", Columns: form.Columns("segment", "lock", "holder", "pid", "state", ">held for", "notes")}
			for _, l := range locks {
				r.Add(l.row())
			}
			if len(locks) == 0 {
				r.Notes = []string{"no lock is held"}
			}
			r.Notes = append(r.Notes, w.notes...)
			return printerFor(c).Report(r)
		},
	}
}

// pause waits, or returns the context's error.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lockData is a lock and its holder, in JSON.
type lockData struct {
	Segment   string     `json:"segment"`
	Name      string     `json:"name"`
	Held      bool       `json:"held"`
	ID        uint32     `json:"id,omitempty"`
	Pid       int        `json:"pid,omitempty"`       // as this machine sees it; 0 if it is not to be seen
	NSPid     int        `json:"ns_pid,omitempty"`    // in its own pid namespace
	Namespace string     `json:"namespace,omitempty"` // of pids
	Program   string     `json:"program,omitempty"`
	State     proc.State `json:"state,omitempty"`
	HeldFor   float64    `json:"held_for_seconds,omitempty"` // at least
	Waiting   bool       `json:"waiting"`
	Waiters   []int      `json:"waiters,omitempty"` // pids of processes that sleep until they get it
	Abandoned bool       `json:"abandoned"`
	Takeovers uint32     `json:"takeovers"`
}

// row returns the row of a lock.
func (l lockData) row() form.Row {
	holder, pid, state, held, notes := "", "", "free", "", ""
	mark := form.None
	if l.Held {
		holder, state = form.Name(l.Program), string(l.State)
		if l.NSPid == 0 {
			holder = fmt.Sprintf("id %d", l.ID)
		}
		switch {
		case l.Pid != 0:
			pid = strconv.Itoa(l.Pid)
		case l.NSPid != 0 && l.State == proc.Dead:
			pid = strconv.Itoa(l.NSPid)
		case l.NSPid != 0:
			pid = fmt.Sprintf("%d there", l.NSPid) // in another namespace
		}
		if l.HeldFor > 0 {
			held = time.Duration(l.HeldFor * float64(time.Second)).Round(time.Millisecond).String()
		}
		switch l.State {
		case proc.Dead:
			mark = form.Bad
		case proc.Stopped:
			mark = form.Warn
		}
	}
	add := func(text string) {
		if notes != "" {
			notes += ", "
		}
		notes += text
	}
	switch {
	case len(l.Waiters) > 0:
		pids := strings.Trim(fmt.Sprint(l.Waiters), "[]")
		add("waiters: " + strings.ReplaceAll(pids, " ", ", "))
	case l.Waiting:
		add("others wait or waited")
	}
	if l.Abandoned {
		add("abandoned")
	}
	if l.Takeovers > 0 {
		add(form.Count(int(l.Takeovers), "takeover"))
	}
	return form.Row{Cells: []string{form.Name(l.Segment), form.Name(l.Name), holder, pid, state, held, notes}, Data: l, Mark: mark}
}

// lockDataOf joins what the lock says with what /proc says of its holder.
func lockDataOf(segment, name string, info shm.LockInfo, byID map[uint32]proc.Process, held time.Duration) lockData {
	l := lockData{
		Segment: segment, Name: name, Held: info.Held, ID: info.ID, NSPid: info.Pid, Program: info.Program,
		Waiting: info.Waiting, Abandoned: info.Abandoned, Takeovers: info.Takeovers,
	}
	if !info.Held {
		return l
	}
	l.HeldFor = held.Seconds()
	if !info.Alive {
		l.State = proc.Dead
		return l
	}
	l.State = proc.Unknown
	if p, ok := byID[info.ID]; ok {
		l.Pid, l.Namespace, l.State = p.Pid, p.PidNS, p.State
	}
	return l
}

// locksOf yields the name and the state of each lock of a value. One of Mutexes, or of the
// rows of a Table, has its index in the name.
func locksOf(e shm.Entry) iter.Seq2[string, shm.LockInfo] {
	many := strings.HasPrefix(e.Type(), "Mutexes") || isTable(e)
	return func(yield func(string, shm.LockInfo) bool) {
		for i, info := range e.Locks() {
			name := e.Name
			if many {
				name = fmt.Sprintf("%s[%d]", e.Name, i)
			}
			if !yield(name, info) {
				return
			}
		}
	}
}

// seen maps the ids of a segment's processes to the processes that this machine shows. A
// segment knows a process by the pid in its own pid namespace.
func seen(processes iter.Seq[shm.Process], attached []proc.Process) map[uint32]proc.Process {
	byID := map[uint32]proc.Process{}
	for p := range processes {
		for _, q := range attached {
			if q.NSPid == p.Pid && !q.ReadOnly && (p.Namespace == 0 || q.PidNS == strconv.FormatUint(p.Namespace, 10)) {
				byID[p.ID] = q
			}
		}
	}
	return byID
}

// event returns the line of a change.
func (l lockData) event() form.Row {
	r := l.row()
	at := time.Now().UTC()
	text := "free"
	if l.Held {
		text = fmt.Sprintf("held by %s", r.Cells[2])
		if r.Cells[3] != "" {
			text += fmt.Sprintf(" (pid %s)", r.Cells[3])
		}
		text += ", " + r.Cells[4]
	}
	if r.Cells[6] != "" {
		text += ", " + r.Cells[6]
	}
	r.Text = new(fmt.Sprintf("%s %s %s: %s", at.Format("15:04:05.000"), r.Cells[0], r.Cells[1], text))
	r.Data = struct {
		At time.Time `json:"at"`
		lockData
	}{at, l}
	return r
}
