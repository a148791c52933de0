package shm

import (
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// passPrefix starts the environment variable that tells a child where an
// inherited segment is: then comes the segment's name in hexadecimal, and the
// value is descriptor:device:inode.
const passPrefix = "SHM_SEGMENT_"

// Pass hands the segment to the process that cmd will start: its file becomes
// one of cmd.ExtraFiles, and cmd.Env says which. The child attaches with
// Inherited. An anonymous segment has no name that somebody else could open.
//
// Call it last: changing cmd.Env or cmd.ExtraFiles afterwards undoes it, and
// keep the segment open until the child has started. It panics on a closed
// segment, and where cmd already has another one of the same name, as two
// anonymous ones have, or two of which the first was removed: pass those in
// cmd.ExtraFiles and attach with OpenFile.
func (s *Segment) Pass(cmd *exec.Cmd) {
	if _, err := s.attachedMapping(); err != nil {
		panic(fmt.Errorf("shm: Pass: %w", err))
	}
	key, _, err := identity(s.file, s.label())
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

// passes reports whether a value of the environment says what one of the
// command's files is. Else it has come down from a parent of this process.
func passes(cmd *exec.Cmd, value string) bool {
	number, file, _ := strings.Cut(value, ":")
	n, err := strconv.Atoi(number)
	if err != nil || n < 3 || n-3 >= len(cmd.ExtraFiles) || cmd.ExtraFiles[n-3] == nil {
		return false
	}
	key, _, err := identity(cmd.ExtraFiles[n-3], value)
	return err == nil && key.String() == file
}

// String is how the environment names a passed file.
func (k inodeKey) String() string { return fmt.Sprintf("%d:%d", k.dev, k.ino) }

// Inherited attaches to the segment of that name that the parent process handed
// over with Pass; the name of an anonymous one is "". It may be called again.
// The descriptor stays open in this process and is closed in those it starts.
//
// The error is a *fs.PathError that wraps fs.ErrNotExist where no such segment
// was passed, also where only the environment came down from a grandparent, or
// else one of OpenFile's.
func Inherited(name string, o *Options) (*Segment, error) {
	fail := func(err error) (*Segment, error) { return nil, pathError("inherit", name, err) }
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
	var key inodeKey
	if n, err := fmt.Sscanf(value, "%d:%d:%d", &fd, &key.dev, &key.ino); n != 3 || err != nil || fd < 3 {
		return fail(fmt.Errorf("%w: %q in the environment is no descriptor", fs.ErrInvalid, value))
	}
	f, err := adopt(fd, key, name, opt.ReadOnly)
	if err != nil {
		return fail(err)
	}
	path := anonymousPath
	if name != "" {
		path = Path(name)
	}
	return openOwned(name, path, f, opt)
}
