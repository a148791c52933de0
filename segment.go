package shm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"sync/atomic"
)

// Segment is memory that several processes map, with a directory of named
// values in it. Its methods are safe for concurrent use.
//
// Until Close the memory stays mapped at one address, however the segment
// grows. After Close constructors fail with ErrClosed, while handles made
// before go on reading and writing: the memory is unmapped once no handle can
// reach it any more.
type Segment struct {
	name string
	file *os.File
	m    atomic.Pointer[mapping] // nil after Close
}

const (
	anonymousPath = "anonymous segment"
	smallReserve  = 64 << 20 // bytes of address space where there are only 32 bits of it
)

// Open attaches to the segment of that name, and creates it if there is none.
// A name without a slash is a POSIX shared-memory object, which lives until
// Remove or a reboot, also when no process has it open; one with a slash is the
// path of a file, which outlives a reboot. So "/x" is a file in the root directory,
// not what shm_open(3) would open.
//
// A new segment is built complete before it gets its name, so processes that
// open one name at the same instant agree on one segment. MaxSize and Mode are
// the creator's.
//
// Errors are *fs.PathError: fs.ErrNotExist and fs.ErrExist as the options ask,
// fs.ErrPermission where it is somebody else's and Mode did not let others in,
// syscall.ENOSPC where the filesystem is full, ErrFormat or ErrVersion where
// the file is no segment that this version reads, ErrInsecure where it is no
// regular file with one name, belongs to somebody else though Mode asks for
// nobody else, or lets more write than Mode does. Nothing is changed then.
func Open(name string, o *Options) (*Segment, error) {
	opt, err := o.check()
	if err == nil {
		err = checkName(name)
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	path := Path(name)
	// Somebody may create and remove the name in turn, so that neither attaching
	// nor creating succeeds; a few rounds are as good as for ever.
	for range 100 {
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
	return nil, pathError("open", path, errors.New("the name keeps coming and going"))
}

// Anonymous creates a segment without a name: only processes that inherit its
// descriptor can attach. On Linux it is a memfd, sealed against shrinking.
func Anonymous(o *Options) (*Segment, error) {
	opt, err := o.check()
	if err == nil && (opt.Foreign || opt.ReadOnly || opt.MustExist) {
		err = fmt.Errorf("%w: an anonymous segment is always new", fs.ErrInvalid)
	}
	if err != nil {
		return nil, pathError("create", anonymousPath, err)
	}
	f, err := createAnonymous(newHeader(opt.MaxSize, firstAllocation, bootID()))
	if err != nil {
		return nil, err
	}
	return openOwned("", anonymousPath, f, opt)
}

// OpenFile attaches to the segment in f, a descriptor that this process
// inherited or received: whoever could hand it over granted access, so neither
// owner nor mode is looked at. The segment works on a duplicate; f stays the
// caller's. Options.Mode and MaxSize do not apply.
func OpenFile(f *os.File, o *Options) (*Segment, error) {
	opt, err := o.check()
	if err == nil && opt.Exclusive {
		err = fmt.Errorf("%w: an open file exists", fs.ErrExist)
	}
	if err == nil && f == nil {
		err = fmt.Errorf("%w: no file", fs.ErrInvalid)
	}
	if err != nil {
		return nil, pathError("open", "file", err)
	}
	own, err := duplicate(f, opt.ReadOnly)
	if err != nil {
		return nil, err
	}
	if _, err := identify(own, f.Name()); err != nil {
		return nil, closeAfter(own, err)
	}
	return openOwned(f.Name(), f.Name(), own, opt)
}

// Remove takes the name away. Processes that are attached keep the memory; the
// next Open creates a new segment. Errors are *fs.PathError.
func Remove(name string) error {
	if err := checkName(name); err != nil {
		return pathError("remove", name, err)
	}
	if err := unlink(Path(name)); err != nil {
		return pathError("remove", Path(name), err)
	}
	return nil
}

func pathError(op, path string, err error) error {
	return &fs.PathError{Op: op, Path: path, Err: err}
}

func create(name, path string, opt Options) (*Segment, error) {
	f, err := createNamed(path, opt.Mode, newHeader(opt.MaxSize, firstAllocation, bootID()))
	if err != nil {
		return nil, err
	}
	return openOwned(name, path, f, opt)
}

// openNamed attaches to a name that exists, if it can be trusted.
func openNamed(name, path string, opt Options) (*Segment, error) {
	f, err := openExisting(path, opt.ReadOnly)
	if err != nil {
		return nil, err
	}
	if err := checkNamed(f, path, opt.Mode); err != nil {
		return nil, closeAfter(f, err)
	}
	return openOwned(name, path, f, opt)
}

// openOwned attaches to f, which becomes the segment's, or is closed.
func openOwned(name, path string, f *os.File, opt Options) (*Segment, error) {
	m, err := attachFile(f, path, opt)
	if err != nil {
		return nil, closeAfter(f, err)
	}
	s := &Segment{name: name, file: f}
	s.m.Store(m)
	return s, nil
}

// attachFile validates what f holds, on a copy that nobody can change any more,
// and maps it.
//
// Preconditions: f is a regular file.
func attachFile(f *os.File, path string, opt Options) (*mapping, error) {
	if opt.Foreign {
		key, size, err := identity(f, path)
		if err != nil {
			return nil, err
		}
		if size == 0 {
			return nil, pathError("open", path, fmt.Errorf("%w: an empty file", ErrFormat))
		}
		return attach(f, key, path, size, size, opt.ReadOnly, true)
	}
	key, size, maxSize, err := readHeader(f, path)
	if err != nil {
		return nil, err
	}
	m, err := attach(f, key, path, maxSize, min(size, maxSize), opt.ReadOnly, false)
	if err != nil {
		return nil, err
	}
	if err := m.settle(f); err != nil {
		m.detach()
		return nil, err
	}
	return m, nil
}

// readHeader reads the header until it is valid, or stays invalid: a copy that
// is made while another process adds values may have an old word beside a new
// one. The size is taken after the copy, since the file only grows.
func readHeader(f *os.File, path string) (key inodeKey, size, maxSize int64, err error) {
	const tries = 100 // against a peer that writes nonsense for ever
	var before []byte
	for range tries {
		start := make([]byte, tableOffset)
		n, err := f.ReadAt(start, 0)
		if err != nil && err != io.EOF {
			return key, 0, 0, err
		}
		start = start[:n] // too short a file is a matter of format
		if key, size, err = identity(f, path); err != nil {
			return key, 0, 0, err
		}
		if maxSize, err = checkHeader(start, size); err == nil {
			return key, size, maxSize, nil
		}
		if before != nil && bytes.Equal(start, before) {
			return key, 0, 0, pathError("open", path, err)
		}
		before = start
	}
	return key, 0, 0, pathError("open", path, fmt.Errorf("%w: the header never keeps still", ErrFormat))
}

// settle does what a mapping needs before its first use: bring the lock words
// of an earlier boot in order, and read the directory.
func (m *mapping) settle(f *os.File) error {
	return m.guarded(func() error {
		if !m.readOnly {
			if err := m.recoverBoot(f); err != nil {
				return err
			}
		}
		return m.dir.extend(m, f)
	})
}

// attachedMapping returns the mapping, or ErrClosed.
func (s *Segment) attachedMapping() (*mapping, error) {
	m := s.m.Load()
	if m == nil {
		return nil, fmt.Errorf("%w: %s", ErrClosed, s.label())
	}
	return m, nil
}

// namedMapping returns the mapping, or ErrClosed, or ErrForeign where it has no
// names.
func (s *Segment) namedMapping() (*mapping, error) {
	m, err := s.attachedMapping()
	if err == nil && m.header == nil {
		err = fmt.Errorf("%w: %s has no names", ErrForeign, s.label())
	}
	return m, err
}

// closedError returns ErrClosed in place of an error after Close, which may have
// closed the file under what failed.
func (s *Segment) closedError(err error) error {
	if _, closed := s.attachedMapping(); closed != nil {
		return closed
	}
	return err
}

// label names the segment in messages.
func (s *Segment) label() string {
	if s.name == "" {
		return anonymousPath
	}
	return s.name
}

// Name returns the name the segment was opened by; "" for an anonymous one.
func (s *Segment) Name() string { return s.name }

// File returns the segment's open file, for exec.Cmd.ExtraFiles. It is closed
// by Close. It is not the descriptor that holds the lease, so whoever inherits
// it cannot keep this process's locks alive.
func (s *Segment) File() *os.File { return s.file }

// Size returns how many bytes are allocated so far, and 0 after Close.
func (s *Segment) Size() int64 {
	m := s.m.Load()
	if m == nil {
		return 0
	}
	n, _ := m.size() // 0 where the header is gone
	return n
}

// Entries yields every named value, oldest first, as of the call; none after
// Close or of a foreign segment.
func (s *Segment) Entries() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		m := s.m.Load()
		if m == nil || m.header == nil {
			return
		}
		// What a hostile peer broke since the attach ends the list early; the next
		// constructor says how.
		_ = m.dir.extend(m, s.file)
		for _, r := range m.dir.all() {
			if !yield(Entry{s: s, m: m, record: r}.filled()) {
				return
			}
		}
	}
}

// Lookup returns the named value, if there is one.
func (s *Segment) Lookup(name string) (Entry, bool) {
	m := s.m.Load()
	if m == nil || m.header == nil {
		return Entry{}, false
	}
	_ = m.dir.extend(m, s.file)
	r := m.dir.find(name)
	if r == nil {
		return Entry{}, false
	}
	return Entry{s: s, m: m, record: r}.filled(), true
}

// WaitFor sleeps until somebody has made the value of that name, and returns
// it at once if it is there. Errors: the context's, ErrClosed, ErrFormat.
func (s *Segment) WaitFor(ctx context.Context, name string) (Entry, error) {
	m, err := s.namedMapping()
	if err != nil {
		return Entry{}, err
	}
	if err := m.awaitName(ctx, s, name); err != nil {
		err = s.closedError(err)
		return Entry{}, fmt.Errorf("shm: waiting for value %q: %w", name, err)
	}
	return Entry{s: s, m: m, record: m.dir.find(name)}.filled(), nil
}

// Sync flushes a segment in a file to disk and returns when it is there. What a
// system crash leaves of later changes is undefined: write-back has no order.
func (s *Segment) Sync() error {
	m, err := s.attachedMapping()
	if err != nil {
		return err
	}
	return m.sync()
}

// Close ends this attachment; a second call does nothing. What Ptr, Slice and
// Bytes returned must not be used afterwards. Handles may: the memory, and the
// locks held, stay until no handle can reach them. The name stays, and other
// processes notice nothing.
func (s *Segment) Close() error {
	m := s.m.Swap(nil)
	if m == nil {
		return nil
	}
	m.detach()
	if m.header != nil {
		m.lobby.rouse(m, &m.names) // who waits for a name is told so
	}
	return s.file.Close()
}
