package serve

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"sync"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/proc"
	"example.org/shm/cmd/shm/internal/segments"
)

const (
	relist = 2 * time.Second  // after how long the list of values is read anew
	linger = 10 * time.Second // how long a segment is attached after the last page has gone: most come again at once
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
	past   history

	state    stateData
	stated   time.Time
	stateIn  time.Duration // what the last look at locks and processes took
	since    map[string]sighting
	attached []proc.Process
	scanned  time.Time
	known    map[string]*processData
}

// join returns the board of a segment, and leave what a page does when it goes.
func (l *live) join(name string) (b *board, leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b = l.by[name]
	if b == nil {
		b = &board{c: l.c, name: name, past: history{l.c.interval(), map[string]*track{}}, since: map[string]sighting{}, known: map[string]*processData{}}
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
		clear(b.past.tracks)
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
