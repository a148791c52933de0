package serve

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/proc"
	"example.org/shm/cmd/shm/internal/segments"
)

const (
	rescan    = 5 * time.Second  // after how long all processes of the machine are looked at anew
	remember  = 30 * time.Second // how long a process that has ended is shown
	mostLocks = 4096             // of one value, that are looked at
	mostHeld  = 10               // locks that are named at the process that holds them
	mostState = 100              // locks and processes that a frame has
)

// sighting is since when a process holds a lock, as far as this server has seen.
type sighting struct {
	id uint32
	at time.Time
}

// stateData is what a frame says of the segment as a whole.
type stateData struct {
	Size      string         `json:"size"`
	Values    int            `json:"values"`
	Held      int            `json:"held"`
	Dead      int            `json:"dead"` // locks of dead holders
	Locks     []lockData     `json:"locks"`
	Processes []*processData `json:"processes"`
	Attached  int            `json:"attached"` // that live
	Damage    string         `json:"damage,omitempty"`
}

type lockData struct {
	Name      string     `json:"name"`
	Program   string     `json:"program"`
	Pid       string     `json:"pid"`
	State     proc.State `json:"state"` // free for one that is only abandoned
	Held      float64    `json:"held"`  // seconds, at least
	Waiting   bool       `json:"waiting,omitempty"`
	Abandoned bool       `json:"abandoned,omitempty"`
	Takeovers uint32     `json:"takeovers,omitempty"`
}

type processData struct {
	Pid      string     `json:"pid"`
	Program  string     `json:"program"`
	State    proc.State `json:"state"`
	ReadOnly bool       `json:"read_only,omitempty"`
	Holds    []string   `json:"holds,omitempty"`

	ended time.Time // zero while it lives
}

// look reads locks and processes, unless that was done just now or takes too long to be done
// so often.
func (b *board) look(now time.Time) *stateData {
	if !b.stated.IsZero() && now.Sub(b.stated) < max(b.c.interval()*9/10, 20*b.stateIn) {
		return &b.state
	}
	started := time.Now()
	state := stateData{Size: form.Bytes(b.seg.Size()), Values: b.values, Locks: []lockData{}, Processes: []*processData{}}
	if b.damage != nil {
		state.Damage = form.Line(strings.TrimPrefix(b.damage.Error(), "shm: "))
	}
	living := map[uint32]shm.Process{}
	for p := range b.seg.Processes() {
		living[p.ID] = p
	}
	seen := b.processes(now, living)
	holds := map[uint32][]string{}
	for _, i := range b.locked {
		n := 0
		for name, info := range b.c.Locks(b.rows[i].entry) {
			if n++; n > mostLocks {
				break
			}
			if !info.Held {
				delete(b.since, name)
			}
			if !info.Held && !info.Abandoned {
				continue
			}
			l := lockData{Name: form.Name(name), State: "free", Waiting: info.Waiting, Abandoned: info.Abandoned, Takeovers: info.Takeovers}
			if info.Held {
				state.Held++
				if !info.Alive {
					state.Dead++
				}
				at, ok := b.since[name]
				if !ok || at.id != info.ID {
					at = sighting{info.ID, now}
				}
				b.since[name] = at
				l.holder(info, seen, now.Sub(at.at))
				if n := len(holds[info.ID]); n < mostHeld {
					holds[info.ID] = append(holds[info.ID], l.Name)
				} else if n == mostHeld {
					holds[info.ID] = append(holds[info.ID], "more")
				}
			}
			if len(state.Locks) < mostState {
				state.Locks = append(state.Locks, l)
			}
		}
	}
	b.listProcesses(&state, now, living, seen, holds)
	b.state, b.stated, b.stateIn = state, now, time.Since(started)
	return &b.state
}

// holder says who holds the lock.
func (l *lockData) holder(info shm.LockInfo, seen map[uint32]proc.Process, held time.Duration) {
	l.Held, l.Program, l.State = held.Seconds(), form.Name(info.Program), proc.Unknown
	if info.Pid == 0 {
		l.Program = idKey(info.ID)
	} else {
		l.Pid = strconv.Itoa(info.Pid)
	}
	if p, ok := seen[info.ID]; ok {
		l.Pid, l.State = strconv.Itoa(p.Pid), p.State
	}
	if !info.Alive {
		l.State = proc.Dead
	}
}

// processes returns which processes of this machine have which id. All processes are looked
// at only now and then; those that are known, each time.
func (b *board) processes(now time.Time, living map[uint32]shm.Process) map[uint32]proc.Process {
	if now.Sub(b.scanned) < rescan {
		for i := range b.attached {
			b.attached[i].State = proc.StateOf(b.attached[i].Pid)
		}
		seen := b.c.Seen(maps.Values(living), b.attached)
		unseen := func(id uint32) bool {
			_, ok := seen[id]
			return !ok && b.known[idKey(id)] == nil
		}
		if !slices.ContainsFunc(slices.Collect(maps.Keys(living)), unseen) {
			return seen
		}
	}
	b.scanned = now
	if all, err := proc.Scan(); err == nil {
		if file, err := segments.Stat(b.name); err == nil {
			b.attached = all.Of(proc.KeyOf(file.Dev, file.Inode))
		}
	}
	return b.c.Seen(maps.Values(living), b.attached)
}

// idKey is the key of a process that this machine does not show.
func idKey(id uint32) string { return "id " + strconv.FormatUint(uint64(id), 10) }

// listProcesses lists the processes: those that are attached, and for a while those that were.
func (b *board) listProcesses(state *stateData, now time.Time, living map[uint32]shm.Process, seen map[uint32]proc.Process, holds map[uint32][]string) {
	there := map[string]bool{}
	note := func(key string, d processData) {
		if old := b.known[key]; old != nil && !old.ended.IsZero() && (d.State == proc.Dead || d.State == proc.Gone) {
			d.ended = old.ended
		} else if d.State == proc.Dead || d.State == proc.Gone {
			d.State, d.ended = proc.Dead, now
		}
		there[key] = true
		b.known[key] = &d
	}
	ofPid := map[int]uint32{}
	for id, p := range seen {
		ofPid[p.Pid] = id
	}
	for _, p := range b.attached {
		d := processData{Pid: strconv.Itoa(p.Pid), Program: form.Name(p.Program), State: p.State, ReadOnly: p.ReadOnly}
		if id, ok := ofPid[p.Pid]; ok {
			d.Holds = holds[id]
		}
		note("pid "+d.Pid, d)
	}
	for id, p := range living {
		if _, ok := seen[id]; ok {
			continue
		}
		d := processData{Program: form.Name(p.Program), State: proc.Unknown, Holds: holds[id]}
		if p.Pid != 0 {
			d.Pid = strconv.Itoa(p.Pid)
		}
		key := idKey(id)
		if !p.Alive() {
			d.State = proc.Dead
			if old := b.known["pid "+d.Pid]; old != nil && !old.ended.IsZero() {
				key = "pid " + d.Pid // it was seen before it died
			}
		}
		note(key, d)
	}
	keys := make([]string, 0, len(b.known))
	for key, d := range b.known {
		if !there[key] && d.ended.IsZero() {
			d.State, d.ended, d.Holds = proc.Dead, now, nil
		}
		if !there[key] && now.Sub(d.ended) > remember {
			delete(b.known, key)
			continue
		}
		keys = append(keys, key)
		if d.ended.IsZero() {
			state.Attached++
		}
	}
	slices.Sort(keys)
	for _, key := range keys[:min(len(keys), mostState)] {
		state.Processes = append(state.Processes, b.known[key])
	}
}
