package shm

import (
	"encoding/hex"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/lease"
	"example.org/shm/internal/sys"
)

// passPrefix starts the name of the environment variable that tells a child where
// an inherited segment is. The segment's name in hexadecimal follows it. The
// variable's value is the text of a passing.
const passPrefix = "SHM_SEGMENT_"

// passing is what the environment says of a segment that was passed.
type passing struct {
	fd     int
	key    sys.Key
	socket int // in which a description for the child's lease waits; 0: none
}

// String returns descriptor:device:inode, and :socket if there is one.
func (p passing) String() string {
	if p.socket == 0 {
		return fmt.Sprintf("%d:%v", p.fd, p.key)
	}
	return fmt.Sprintf("%d:%v:%d", p.fd, p.key, p.socket)
}

// parsePassing reads what String returns.
func parsePassing(value string) (p passing, ok bool) {
	words := strings.Split(value, ":")
	if len(words) != 3 && len(words) != 4 {
		return p, false
	}
	numbers := make([]uint64, 4)
	for i, w := range words {
		n, err := strconv.ParseUint(w, 10, 64)
		isDescriptor := i == 0 || i == 3
		if err != nil || isDescriptor && (n < 3 || n > math.MaxInt32) {
			return p, false
		}
		numbers[i] = n
	}
	return passing{int(numbers[0]), sys.Key{Dev: numbers[1], Ino: numbers[2]}, int(numbers[3])}, true
}

// Pass hands the segment to the process that cmd will start. It adds the segment's
// file to cmd.ExtraFiles, and a socket, and says in cmd.Env which they are. The child
// attaches with Inherited. Use it for an anonymous segment, which no process can open
// by name, and for a child that may not open the file, as a worker that has given up its
// privileges: through the socket it gets what it needs for locks and new values.
//
// Call it last: a later change of cmd.Env or cmd.ExtraFiles undoes it. Keep the
// segment open until the child has started. Pass panics if the segment is closed,
// or if cmd already has another segment of the same name. Two anonymous segments
// have the same name, and so have two of which the first was removed: add their
// files to cmd.ExtraFiles and attach with OpenFile.
func (s *Segment) Pass(cmd *exec.Cmd) {
	m, err := s.attachedMapping()
	if err != nil {
		panic(fmt.Errorf("shm: Pass: %w", err))
	}
	key, _, err := sys.Identify(s.file, s.label())
	if err != nil {
		panic(fmt.Errorf("shm: Pass: %w", err))
	}
	variable := passPrefix + hex.EncodeToString([]byte(s.name)) + "="
	if cmd.Env == nil {
		cmd.Env = cmd.Environ()
	}
	for _, e := range cmd.Env {
		value, ok := strings.CutPrefix(e, variable)
		if !ok {
			continue
		}
		old, ok := parsePassing(value)
		if !ok || !old.in(cmd) {
			continue
		}
		if old.key != key {
			panic(fmt.Sprintf("shm: Pass: the command has another segment named %q already", s.name))
		}
		return
	}
	p := passing{fd: 3 + len(cmd.ExtraFiles), key: key}
	cmd.ExtraFiles = append(cmd.ExtraFiles, s.file)
	if socket := m.sendDescription(s.file, key); socket != nil {
		p.socket = 3 + len(cmd.ExtraFiles)
		cmd.ExtraFiles = append(cmd.ExtraFiles, socket)
	}
	cmd.Env = append(cmd.Env, variable+p.String()) // the last one of a name counts
}

// in reports whether p describes one of the command's files. Otherwise it comes from a
// parent of this process.
func (p passing) in(cmd *exec.Cmd) bool {
	if p.fd-3 >= len(cmd.ExtraFiles) || cmd.ExtraFiles[p.fd-3] == nil {
		return false
	}
	key, _, err := sys.Identify(cmd.ExtraFiles[p.fd-3], p.String())
	return err == nil && key == p.key
}

// sendDescription opens the segment's file f anew, for the lease of a child, and
// returns a socket in which the description waits. It returns nil if the child needs
// none, or if the system refuses: a child that may open the file does without. No
// process keeps another descriptor of the description, so that the lease ends with the
// child.
func (m *mapping) sendDescription(f *os.File, key sys.Key) *os.File {
	if m.header == nil || m.region.ReadOnly { // A reader must not hand over more than it has.
		return nil
	}
	description, err := sys.Reopen(f, m.region.Path)
	if err != nil {
		return nil
	}
	defer description.Close()
	if same, _, err := sys.Identify(description, m.region.Path); err != nil || same != key {
		return nil
	}
	socket, err := sys.Send(description)
	if err != nil {
		return nil
	}
	return socket
}

// receiveDescription takes what sendDescription of a parent has left for the lease of
// this process, if f is a segment that the parent has passed.
func receiveDescription(f *os.File, path string, opt Options) {
	if opt.Foreign || opt.ReadOnly {
		return
	}
	key, _, err := sys.Identify(f, path)
	if err != nil {
		return // Whoever attaches finds out.
	}
	for _, e := range os.Environ() {
		name, value, _ := strings.Cut(e, "=")
		if p, ok := parsePassing(value); ok && strings.HasPrefix(name, passPrefix) && p.key == key && p.socket != 0 {
			lease.Receive(p.socket, key, path)
		}
	}
}

// Inherited attaches to the segment of that name that the parent process handed
// over with Pass. The name of an anonymous segment is "". Inherited may be called
// more than once. The descriptor stays open in this process, and is closed in the
// processes that it starts.
//
// The error is a *fs.PathError. It wraps fs.ErrNotExist if the parent passed no such
// segment, even if a grandparent did. Otherwise the errors are those of OpenFile.
func Inherited(name string, o *Options) (*Segment, error) {
	fail := func(err error) (*Segment, error) { return nil, errs.Path("inherit", name, err) }
	opt, err := o.check()
	if err != nil {
		return fail(err)
	}
	if opt.Exclusive {
		return fail(fmt.Errorf("%w: an inherited segment exists", fs.ErrExist))
	}
	value, ok := os.LookupEnv(passPrefix + hex.EncodeToString([]byte(name)))
	if !ok {
		return fail(fmt.Errorf("%w: no segment of this name was passed", fs.ErrNotExist))
	}
	p, ok := parsePassing(value)
	if !ok {
		return fail(fmt.Errorf("%w: %q in the environment is no descriptor", fs.ErrInvalid, value))
	}
	f, err := sys.Adopt(p.fd, p.key, name, opt.ReadOnly)
	if err != nil {
		return fail(err)
	}
	path := sys.AnonymousPath
	if name != "" {
		path = Path(name)
	}
	receiveDescription(f, path, opt)
	return openOwned(name, path, f, opt)
}
