package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/lease"
	"example.org/shm/internal/sys"
	"example.org/shm/internal/wait"
)

// Segment is memory that several processes map, with a directory of named values
// in it. Its methods are safe for concurrent use.
//
// Until Close the memory stays mapped at one address, however the segment grows.
// After Close constructors return ErrClosed, and handles made before still read
// and write: the memory is unmapped when no handle can reach it any more.
//
// A Segment of which Close was forgotten is collected, as an os.File is. When nothing
// reaches it or one of its handles any more, its descriptor is closed and its memory
// is unmapped. A call of Ptr, Slice or Bytes keeps the memory until Close. A lock that is
// held then, and a number that was set in a Gauge, keep the memory until the process ends.
type Segment struct {
	name string
	path string // absolute, of the name's file; "" if the segment was not found by a name
	file *os.File
	m    atomic.Pointer[mapping] // nil after Close

	sleepers wait.Sleepers
}

// Open attaches to the segment of that name, and creates it if it does not exist.
// A name without a slash is a POSIX shared-memory object. It lives until Remove or
// a reboot, even when no process has it open. A name with a slash is the path of a
// file, which outlives a reboot. So "/x" is a file in the root directory, not what
// shm_open(3) would open.
//
// Open builds a new segment completely before it gives it the name, so processes
// that open one name at the same time share one segment. MaxSize and the file's mode
// are those that its creator asked for.
//
// The error is a *fs.PathError, and nothing is changed. It wraps:
//   - fs.ErrNotExist or fs.ErrExist, as the options ask;
//   - fs.ErrPermission: another user owns the file, and its mode does not let this
//     user in;
//   - ErrInsecure: the file is not regular, has more than one hard link, is
//     writable by more users than Options.Mode grants, or is owned by another user
//     than root whom Options.Mode does not let write. Options.Mode lets such an owner
//     write if it has 0002, or 0020 and the file's group is one of this process's;
//     with Options.ReadOnly any bit for others is enough;
//   - ErrFormat: the file is not a segment, or is corrupt;
//   - ErrVersion: the segment has another format version or byte order;
//   - syscall.ENOSPC: the filesystem is full;
//   - errors.ErrUnsupported: the filesystem can hold no segment.
func Open(name string, o *Options) (*Segment, error) {
	opt, err := o.check()
	if err == nil {
		err = sys.CheckName(name)
	}
	if err != nil {
		return nil, errs.Path("open", name, err)
	}
	path := Path(name)
	// Other processes may create and remove the name in turn. Then neither attaching
	// nor creating succeeds.
	const tries = 100
	for range tries {
		if !opt.Exclusive {
			s, err := openNamed(name, path, opt)
			if err == nil || !errors.Is(err, fs.ErrNotExist) || opt.attachOnly() {
				return s, err
			}
		}
		s, err := create(name, path, opt)
		if err == nil || !errors.Is(err, fs.ErrExist) || opt.Exclusive {
			return s, err
		}
	}
	return nil, errs.Path("open", path, fmt.Errorf("the name was created and removed %d times during Open", tries))
}

// Anonymous creates a segment without a name. Only processes that inherit its
// descriptor can attach to it: see Pass. On Linux it is a memfd, sealed against
// shrinking. The error is a *fs.PathError.
func Anonymous(o *Options) (*Segment, error) {
	opt, err := o.check()
	if err == nil && (opt.Foreign || opt.ReadOnly || opt.MustExist) {
		err = fmt.Errorf("%w: an anonymous segment is always new; do not set Foreign, ReadOnly or MustExist", fs.ErrInvalid)
	}
	if err != nil {
		return nil, errs.Path("create", sys.AnonymousPath, err)
	}
	header, err := newHeader(opt)
	if err != nil {
		return nil, err
	}
	f, err := sys.CreateAnonymous(header, format.FirstAllocation)
	if err != nil {
		return nil, err
	}
	return openOwned("", sys.AnonymousPath, f, opt)
}

// OpenFile attaches to the segment in f, a descriptor that this process inherited
// or received. The process that handed it over granted access, so OpenFile checks
// neither owner nor mode. The segment works on a duplicate; f stays the caller's.
// Options.Mode and MaxSize are not used. The error is a *fs.PathError, as Open's.
func OpenFile(f *os.File, o *Options) (*Segment, error) {
	opt, err := o.check()
	if err == nil && opt.Exclusive {
		err = fmt.Errorf("%w: an open file exists; do not set Exclusive", fs.ErrExist)
	}
	if err == nil && f == nil {
		err = fmt.Errorf("%w: the file is nil", fs.ErrInvalid)
	}
	if err != nil {
		return nil, errs.Path("open", "file", err)
	}
	own, err := sys.Duplicate(f, opt.ReadOnly)
	if err != nil {
		return nil, err
	}
	key, _, err := sys.Identify(own, f.Name())
	if err != nil {
		return nil, sys.CloseAfter(own, err)
	}
	lease.Receive(key, f.Name())
	return openOwned(f.Name(), f.Name(), own, opt)
}

// Replaced reports whether the segment's name leads to another file by now, or to none.
// Then programs that open the name share nothing with this one. That happens after a
// Remove; also if something else removes or replaces the file, such as systemd-tmpfiles,
// systemd's RemoveIPC, or a copy that is moved over it. Nothing fails then, and no wait
// ends except WaitFor. So a program whose segments others may remove asks now and then:
//
//	for range time.Tick(time.Second) {
//		if replaced, err := seg.Replaced(); replaced || err != nil {
//			cancel() // ends Await and Changes; open the name again
//		}
//	}
//
// A segment without a name, from Anonymous or OpenFile, is never replaced. On overlayfs
// the answer can be false although a program that came later has a copy of the file:
// see README.md. The error is a *fs.PathError, or wraps ErrClosed.
func (s *Segment) Replaced() (bool, error) {
	if _, err := s.attachedMapping(); err != nil {
		return false, err
	}
	if s.path == "" {
		return false, nil
	}
	there, err := os.Lstat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	here, err := s.file.Stat()
	if err != nil {
		return false, s.closedError(err)
	}
	return !os.SameFile(here, there), nil
}

// led returns ErrReplaced if the segment's name leads to another file. It says nothing
// of a name that leads nowhere: programs remove a name that they need no more.
func (s *Segment) led() error {
	if replaced, err := s.Replaced(); err != nil || !replaced {
		return nil
	}
	if _, err := os.Lstat(s.path); err != nil {
		return nil
	}
	return fmt.Errorf("%w: %s; open it again", ErrReplaced, s.path)
}

// Leased reports whether a process holds a lease on the segment: one that has made or
// taken a lock and lives, in any pid namespace. An attachment that only reads, or that
// only uses values without locks, has no lease. The answer may be of this very process.
// If the system does not say, Leased returns true. The error wraps ErrClosed or
// ErrForeign.
func (s *Segment) Leased() (bool, error) {
	m, err := s.namedMapping()
	if err != nil {
		return false, err
	}
	return m.party.AnyHeld(s.file), nil
}

// Remove removes the name. Processes that are attached keep the memory. The next
// Open creates a new segment. The error is a *fs.PathError. It wraps [ErrInsecure] if the
// name is of a directory, a device, a pipe or a socket, which stay.
func Remove(name string) error {
	if err := sys.CheckName(name); err != nil {
		return errs.Path("remove", name, err)
	}
	path := Path(name)
	const others = fs.ModeDir | fs.ModeDevice | fs.ModeNamedPipe | fs.ModeSocket
	if st, err := os.Lstat(path); err == nil && st.Mode()&others != 0 {
		return errs.Path("remove", path, fmt.Errorf("%w: not a regular file", ErrInsecure))
	}
	return sys.Remove(path)
}

// Path returns the file behind a segment's name. For a name without a slash it is the
// POSIX shared-memory object /dev/shm/NAME on Linux, and /tmp/NAME on macOS and FreeBSD. On
// Windows it is NAME in %TEMP%\shm for a name without a slash, a backslash and a drive
// letter. For other names it is the name itself.
func Path(name string) string { return sys.Path(name) }

func newHeader(opt Options) ([]byte, error) {
	place, err := sys.NewPlace(opt.Mode)
	if err != nil {
		return nil, err
	}
	// #nosec G404 -- the number tells segments apart, and need not be unpredictable
	return format.NewHeader(opt.MaxSize, format.FirstAllocation, rand.Uint64(), place), nil
}

func create(name, path string, opt Options) (*Segment, error) {
	header, err := newHeader(opt)
	if err != nil {
		return nil, err
	}
	f, err := sys.CreateNamed(path, opt.Mode, header, format.FirstAllocation)
	if err != nil {
		return nil, err
	}
	return named(openOwned(name, path, f, opt))
}

// openNamed attaches to a name that exists, if it can be trusted.
func openNamed(name, path string, opt Options) (*Segment, error) {
	f, err := sys.OpenExisting(path, opt.ReadOnly)
	if err != nil {
		return nil, err
	}
	if err := sys.CheckNamed(f, path, opt.Mode, opt.ReadOnly); err != nil {
		return nil, sys.CloseAfter(f, err)
	}
	return named(openOwned(name, path, f, opt))
}

// openOwned attaches to f. The segment owns f; on an error f is closed.
func openOwned(name, path string, f *os.File, opt Options) (*Segment, error) {
	m, err := attachFile(f, path, opt)
	if err != nil {
		return nil, sys.CloseAfter(f, err)
	}
	s := &Segment{name: name, file: f}
	s.m.Store(m)
	return s, nil
}

// named keeps where the name of a segment leads, for Replaced.
func named(s *Segment, err error) (*Segment, error) {
	if err == nil {
		if path, err := filepath.Abs(Path(s.name)); err == nil {
			s.path = path
		}
	}
	return s, err
}

// attachedMapping returns the mapping, or ErrClosed.
func (s *Segment) attachedMapping() (*mapping, error) {
	m := s.m.Load()
	if m == nil {
		return nil, fmt.Errorf("%w: %s", ErrClosed, s.label())
	}
	return m, nil
}

// namedMapping returns the mapping, or ErrClosed, or ErrForeign if it has no
// names.
func (s *Segment) namedMapping() (*mapping, error) {
	m, err := s.attachedMapping()
	if err == nil && m.header == nil {
		err = fmt.Errorf("%w: %s has no names; use the functions that take an offset", ErrForeign, s.label())
	}
	return m, err
}

// closedError returns ErrClosed in place of an error after Close: Close may have
// closed the file during the call that failed.
func (s *Segment) closedError(err error) error {
	if _, closed := s.attachedMapping(); closed != nil {
		return closed
	}
	return err
}

// label names the segment in messages.
func (s *Segment) label() string {
	if s.name == "" {
		return sys.AnonymousPath
	}
	return s.name
}

// Name returns the name by which the segment was opened; "" for an anonymous one.
func (s *Segment) Name() string { return s.name }

// File returns the segment's open file, for exec.Cmd.ExtraFiles. Close closes it.
// It does not hold the lease, so a process that inherits it cannot keep the locks
// of this process alive.
//
// This process has a second descriptor of the file, which holds the lease. If other
// code of the program closes it (close_range, closefrom), the locks of this process
// count as those of a dead one.
func (s *Segment) File() *os.File { return s.file }

// Size returns how many bytes are allocated so far, and 0 after Close.
func (s *Segment) Size() int64 {
	m := s.m.Load()
	if m == nil {
		return 0
	}
	n, _ := m.size() // 0 if the file was cut off before the header's end
	return n
}

// Sync flushes a segment in a file to disk, and returns when the data is there.
// After a crash of the system, what was changed since may be on disk or not, in
// any order. The error is a *fs.PathError, or wraps ErrClosed.
func (s *Segment) Sync() error {
	m, err := s.attachedMapping()
	if err != nil {
		return err
	}
	if err := m.sync(s.file); err != nil {
		return s.closedError(err)
	}
	return nil
}

// Close ends this attachment; a second call does nothing. Do not use what Ptr,
// Slice and Bytes returned after Close. Handles still work: the memory, and the
// locks held, stay until no handle can reach them. The name stays, and other
// processes are not affected.
//
// Close ends what waits: WaitFor and AwaitExit of this Segment, Await, LockContext and
// LockAny return ErrClosed, Changes ends, and a Mutex.Lock that waits panics with ErrClosed. Changes
// of values, such as Store and UpdateContext, go on. All Segments of this process that
// have one file open in the same mode share its memory and their handles. So Await,
// Changes and the locks end only when the last of those Segments is closed.
func (s *Segment) Close() error {
	m := s.m.Swap(nil)
	if m == nil {
		return nil
	}
	m.detach()
	s.sleepers.WakeAll()
	if m.header != nil {
		// WaitFor returns ErrClosed. If another program has cut the file off, there is no
		// word to wake it by.
		_ = m.region.Guarded(func() error { m.dir.WakeAll(); return nil })
		m.locks.EndWaits()
		m.party.Detached(s.file)
	}
	return s.file.Close()
}
