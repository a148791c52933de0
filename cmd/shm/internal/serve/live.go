package serve

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/proc"
	"example.org/shm/cmd/shm/internal/segments"
)

const (
	relist    = 2 * time.Second  // after how long the list of values is read anew
	rescan    = 5 * time.Second  // after how long all processes of the machine are looked at anew
	remember  = 30 * time.Second // how long a process that has ended is shown
	linger    = 10 * time.Second // how long a segment is attached after the last page has gone: most come again at once
	mostLocks = 4096             // of one value, that are looked at
	mostHeld  = 10               // locks that are named at the process that holds them
	mostState = 100              // locks and processes that a frame has
)

// live has the segments that pages look at. All pages share what is read of a segment.
type live struct {
	c  Config
	mu sync.Mutex
	by map[string]*board

	all    []segmentName
	failed error
	named  time.Time // when all was read
}

func newLive(c Config) *live { return &live{c: c, by: map[string]*board{}} }

// board is a segment that a page looks at. It is attached as long as a page does.
type board struct {
	c     Config
	name  string
	pages int // guarded by live.mu, as is left
	left  int // how often a page has gone

	mu     sync.Mutex
	seg    *shm.Segment
	file   string // tells it from another of this name
	rows   []row
	locked []int // the first row of each value that has locks
	values int
	list   int // number of this list of rows: another one has other rows
	listed time.Time
	took   time.Duration // the last listing
	damage error

	state    stateData
	stated   time.Time
	stateIn  time.Duration // what the last look at locks and processes took
	since    map[string]sighting
	attached []proc.Process
	scanned  time.Time
	known    map[string]*processData
}

type sighting struct {
	id uint32
	at time.Time
}

// join returns the board of a segment, and leave what a page does when it goes.
func (l *live) join(name string) (b *board, leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b = l.by[name]
	if b == nil {
		b = &board{c: l.c, name: name, since: map[string]sighting{}, known: map[string]*processData{}}
		l.by[name] = b
	}
	b.pages++
	return b, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		b.pages--
		b.left++
		if left := b.left; b.pages == 0 {
			time.AfterFunc(linger, func() { l.drop(b, left) })
		}
	}
}

// drop detaches from a segment that no page has looked at since left.
func (l *live) drop(b *board, left int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b.pages > 0 || b.left != left {
		return
	}
	delete(l.by, b.name)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.detach()
}

// detach lets the segment go. What is mapped counts as in use.
func (b *board) detach() {
	if b.seg != nil {
		_ = b.seg.Close()
		b.seg, b.rows, b.locked, b.attached, b.values = nil, nil, nil, nil, 0
		b.listed, b.stated, b.scanned = time.Time{}, time.Time{}, time.Time{}
		b.list++
		clear(b.since)
		clear(b.known)
		go runtime.GC()
	}
}

// attach sees to it that the segment of that name is attached, and its rows are listed.
func (b *board) attach(now time.Time) error {
	if b.seg != nil {
		if replaced, err := b.seg.Replaced(); replaced || err != nil {
			b.detach()
		}
	}
	if b.seg == nil {
		s, err := segments.Look(b.name)
		if errors.Is(err, fs.ErrNotExist) {
			return errors.New("there is no such segment at the moment")
		} else if err != nil {
			return err
		}
		b.seg = s
		b.file = ""
		if f, err := segments.Stat(b.name); err == nil {
			b.file = fmt.Sprint(f.Dev, " ", f.Inode)
		}
	}
	if b.listed.IsZero() || now.Sub(b.listed) >= max(relist, 50*b.took) {
		started := time.Now()
		b.relist()
		b.took, b.listed = time.Since(started), now
	}
	return nil
}

// relist reads the list of values. It keeps the rows if there is nothing new.
func (b *board) relist() {
	var rows []row
	var locked []int
	n := 0
	for e := range b.seg.Entries() {
		if _, locks := e.Lock(); locks {
			locked = append(locked, len(rows))
		}
		rows = append(rows, rowsOf(n, e)...)
		n++
	}
	b.damage = b.seg.Check()
	b.values = n
	if len(rows) != len(b.rows) {
		b.rows, b.locked = rows, locked
		b.list++
	}
}

// names returns the segments that are served, as of at most a second ago.
func (l *live) names(now time.Time) ([]segmentName, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.named) >= time.Second || now.Before(l.named) {
		names, err := namesOf(l.c)
		l.all, l.failed, l.named = []segmentName{}, err, now
		for _, name := range names {
			l.all = append(l.all, segmentName{name, form.Name(name)})
		}
	}
	return l.all, l.failed
}

// segmentName is a segment that can be chosen.
type segmentName struct {
	Name  string `json:"name"`
	Shown string `json:"shown"`
}

// matching returns which rows have a text in their names, in any case.
func (b *board) matching(filter string) (all []int) {
	filter = strings.ToLower(strings.TrimSpace(filter))
	for i := range b.rows {
		if filter == "" || strings.Contains(b.rows[i].lower, filter) {
			all = append(all, i)
		}
	}
	return all
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
	seen := b.c.Seen(b.seg, b.attached)
	unseen := false
	for id := range living {
		if _, ok := seen[id]; !ok && b.known[idKey(id)] == nil {
			unseen = true
		}
	}
	if unseen || now.Sub(b.scanned) >= rescan {
		b.scanned = now
		if maps, err := proc.Scan(); err == nil {
			if file, err := segments.Stat(b.name); err == nil {
				b.attached = maps.Of(proc.KeyOf(file.Dev, file.Inode))
			}
		}
	} else {
		for i := range b.attached {
			b.attached[i].State = proc.StateOf(b.attached[i].Pid)
		}
	}
	return b.c.Seen(b.seg, b.attached)
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
