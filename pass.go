package shm

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/lease"
	"example.org/shm/internal/sys"
)

// Pass hands the segment to the process that cmd will start. It adds the segment's
// file to cmd.ExtraFiles, and a socket, and says in cmd.Env which they are. The child
// attaches with Inherited. Use it for an anonymous segment, which no process can open
// by name, and for a child that may not open the file, because it runs as another
// user. Through the socket the child gets what it needs for locks and new values.
//
// On Windows it adds a handle of the file to cmd.SysProcAttr.AdditionalInheritedHandles
// instead, and no socket: there a child may open what it has inherited.
//
// Call it last: a later change of cmd.Env, cmd.ExtraFiles or cmd.SysProcAttr undoes it. Keep the
// segment open until the child has started. Pass panics if the segment is closed,
// or if cmd already has another segment of the same name. Two anonymous segments
// have the same name, and so have two of which the first was removed: add their
// files to cmd.ExtraFiles and attach with OpenFile.
func (s *Segment) Pass(cmd *exec.Cmd) {
	m, err := s.attachedMapping()
	if err != nil {
		panic(errs.Wrap(err, "Pass"))
	}
	key, _, err := sys.Identify(s.file, s.label())
	if err != nil {
		panic(errs.Wrap(err, "Pass"))
	}
	variable := lease.PassVariable(s.name) + "="
	if cmd.Env == nil {
		cmd.Env = cmd.Environ()
	}
	for _, e := range cmd.Env {
		value, ok := strings.CutPrefix(e, variable)
		if !ok {
			continue
		}
		old, ok := lease.ParsePassing(value)
		if !ok || !passes(cmd, old) {
			continue
		}
		if old.Key != key {
			panic(fmt.Sprintf("shm: Pass: the command has another segment named %q already", s.name))
		}
		return
	}
	p := lease.Passing{Key: key}
	if p.FD, err = sys.Inherit(cmd, s.file); err != nil {
		panic(errs.Wrap(err, "Pass"))
	}
	if socket := m.sendDescription(s.file, key); socket != nil {
		if p.Socket, err = sys.Inherit(cmd, socket); err != nil {
			panic(errs.Wrap(err, "Pass"))
		}
	}
	cmd.Env = append(cmd.Env, variable+p.String()) // the last one of a name counts
}

// passes reports whether p describes files of the command. Otherwise it comes from a
// parent of this process.
func passes(cmd *exec.Cmd, p lease.Passing) bool {
	if p.Socket != 0 && !sys.InheritsSocket(cmd, p.Socket) {
		return false
	}
	key, ok := sys.Inherits(cmd, p.FD)
	return ok && key == p.Key
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
	value, ok := os.LookupEnv(lease.PassVariable(name))
	if !ok {
		return fail(fmt.Errorf("%w: no segment of this name was passed", fs.ErrNotExist))
	}
	p, ok := lease.ParsePassing(value)
	if !ok {
		return fail(fmt.Errorf("%w: %q in the environment is no descriptor", fs.ErrInvalid, value))
	}
	f, err := sys.Adopt(p.FD, p.Key, name, opt.ReadOnly)
	if err != nil {
		return fail(err)
	}
	path := sys.AnonymousPath
	if name != "" {
		path = Path(name)
	}
	lease.Receive(p.Key, path)
	s, err := openOwned(name, path, f, opt)
	if !filepath.IsAbs(path) { // anonymous, or relative to where the parent is
		return s, err
	}
	return named(s, err)
}
