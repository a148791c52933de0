package shm

import (
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/sys"
)

// passPrefix starts the name of the environment variable that tells a child where
// an inherited segment is. The segment's name in hexadecimal follows it. The
// variable's value is descriptor:device:inode.
const passPrefix = "SHM_SEGMENT_"

// Pass hands the segment to the process that cmd will start. It adds the segment's
// file to cmd.ExtraFiles, and says in cmd.Env which one it is. The child attaches
// with Inherited. Use it for an anonymous segment, which no process can open by
// name.
//
// Call it last: a later change of cmd.Env or cmd.ExtraFiles undoes it. Keep the
// segment open until the child has started. Pass panics if the segment is closed,
// or if cmd already has another segment of the same name. Two anonymous segments
// have the same name, and so have two of which the first was removed: add their
// files to cmd.ExtraFiles and attach with OpenFile.
func (s *Segment) Pass(cmd *exec.Cmd) {
	if _, err := s.attachedMapping(); err != nil {
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
		old, ok := strings.CutPrefix(e, variable)
		if !ok || !passes(cmd, old) {
			continue
		}
		if _, file, _ := strings.Cut(old, ":"); file != key.String() {
			panic(fmt.Sprintf("shm: Pass: the command has another segment named %q already", s.name))
		}
		return
	}
	cmd.Env = append(cmd.Env, fmt.Sprintf("%s%d:%v", variable, 3+len(cmd.ExtraFiles), key)) // the last one of a name counts
	cmd.ExtraFiles = append(cmd.ExtraFiles, s.file)
}

// passes reports whether a value of the environment describes one of the command's
// files. Otherwise it comes from a parent of this process.
func passes(cmd *exec.Cmd, value string) bool {
	number, file, _ := strings.Cut(value, ":")
	n, err := strconv.Atoi(number)
	if err != nil || n < 3 || n-3 >= len(cmd.ExtraFiles) || cmd.ExtraFiles[n-3] == nil {
		return false
	}
	key, _, err := sys.Identify(cmd.ExtraFiles[n-3], value)
	return err == nil && key.String() == file
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
	var fd int
	var key sys.Key
	if n, err := fmt.Sscanf(value, "%d:%d:%d", &fd, &key.Dev, &key.Ino); n != 3 || err != nil || fd < 3 {
		return fail(fmt.Errorf("%w: %q in the environment is no descriptor", fs.ErrInvalid, value))
	}
	f, err := sys.Adopt(fd, key, name, opt.ReadOnly)
	if err != nil {
		return fail(err)
	}
	path := sys.AnonymousPath
	if name != "" {
		path = Path(name)
	}
	return openOwned(name, path, f, opt)
}
