package shm

import (
	"context"
	"iter"
	"runtime"
	"slices"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/robust"
)

// Process is a process that has, or had, a segment attached. ID is its identity in that
// segment: no other process ever gets it. If a process attaches anew, after Close, it has
// another ID and is another Process.
//
// Pid and Program are what the process wrote about itself when it attached. They are for
// people. They are 0 and "" if the segment has forgotten them: it remembers 512
// processes.
type Process struct {
	ID        uint32
	Pid       int    // in the process's own pid namespace
	Namespace uint64 // inode number of that namespace, as that of /proc/self/ns/pid; 0: not known
	Program   string // name of the program's file

	s *Segment
	m *mapping
}

// process returns the Process with an id.
func (s *Segment) process(m *mapping, id uint32) Process {
	p := Process{ID: id, s: s, m: m}
	_ = m.region.Guarded(func() error { p.Pid, p.Namespace, p.Program = m.party.Who(id); return nil })
	runtime.KeepAlive(m)
	return p
}

// Alive reports whether the process lives and has the segment attached. The proof is its
// lease, a file lock that the kernel drops when the process ends, and not its pid, which
// another process may have by now. So it works between containers too. A process that
// is stopped, or whose memory the kernel still frees, is alive; see Mutex. The answer
// false is final. The zero Process is not alive, and nor is one that was made of an ID
// alone, because it is of no segment: look for the ID in Processes.
//
// After Close of a read-only attachment nobody can be asked, and Alive returns true.
func (p Process) Alive() bool {
	if p.m == nil {
		return false
	}
	alive := true
	_ = p.m.region.Guarded(func() error { alive = p.m.party.Lives(p.s.file, p.ID); return nil })
	runtime.KeepAlive(p.m)
	return alive
}

// Processes yields the processes that have the segment attached, as of the call, in the
// order in which they came, and then those that are dead and still hold a lock, of a
// Mutex or of a value. It yields this process too. A process gets its ID, and so is
// found, when it makes or finds the first value that has a lock, or a Counter, Gauge or
// Histogram; one that only uses raw values, Atomics, or a read-only attachment is never
// found. Processes yields none after Close, or for a foreign segment.
//
// To find the dead, it reads each lock of the segment. A loop that ends before does
// not pay for that.
func (s *Segment) Processes() iter.Seq[Process] {
	return func(yield func(Process) bool) {
		m, err := s.namedMapping()
		if err != nil {
			return
		}
		var living []uint32
		err = m.region.Guarded(func() (err error) { living, err = m.party.Living(s.file); return err })
		if err != nil {
			return
		}
		for _, id := range living {
			if !yield(s.process(m, id)) {
				return
			}
		}
		for _, id := range s.deadOwners(m, living) {
			if !yield(s.process(m, id)) {
				return
			}
		}
	}
}

// deadOwners returns the ids in lock words that are not among those of the living and
// belong to nobody who lives.
func (s *Segment) deadOwners(m *mapping, living []uint32) (dead []uint32) {
	alive := map[uint32]bool{0: true}
	for _, id := range living {
		alive[id] = true
	}
	for r, err := range m.dir.All(s.file) {
		if err != nil {
			break // as Entries does
		}
		// If the file was cut off there is no lock to read.
		_ = m.region.Guarded(func() error {
			for off := range r.Locks {
				id := robust.OwnerOf(mem.At[format.LockCell](&m.region, off))
				if _, known := alive[id]; !known {
					if alive[id] = m.party.Lives(s.file, id); !alive[id] {
						dead = append(dead, id)
					}
				}
			}
			return nil
		})
	}
	slices.Sort(dead)
	return dead
}

// AwaitExit sleeps until p is dead, and returns nil. It also returns nil if the process
// lives on but has left the segment, because it closed it and keeps no handle. Only
// p.ID counts, so the ID can come from memory that the processes share.
//
// On Linux the kernel reports the death if the process is in the pid namespace of this
// one, so AwaitExit returns at once, and it finds out within a quarter of a second that
// a process has left. Otherwise AwaitExit asks for the lease, every 4 ms at first and
// every 20 ms after a second. It keeps no thread, and works in a read-only attachment.
//
// If ctx is done first, the error wraps the context's. Otherwise it wraps ErrClosed
// (Close was called meanwhile), ErrForeign, ErrFormat, or fs.ErrInvalid: p is of another
// segment, or the zero Process.
func (s *Segment) AwaitExit(ctx context.Context, p Process) error {
	m, err := s.namedMapping()
	if err != nil {
		return err
	}
	if p.ID == 0 || p.ID > format.MaxID || p.m != nil && p.m.file != m.file {
		return errs.Wrap(errs.Invalid("it is no process of %s", s.label()), "awaiting the exit of process %d", p.ID)
	}
	wake := make(chan struct{}, 1)
	defer s.sleepers.Join(wake)()
	err = m.region.Guarded(func() error {
		return m.party.AwaitExit(ctx, s.file, p.ID, wake, func() error { _, err := s.attachedMapping(); return err })
	})
	runtime.KeepAlive(m)
	if err != nil {
		return errs.Wrap(err, "awaiting the exit of process %d (pid %d)", p.ID, p.Pid)
	}
	return nil
}
