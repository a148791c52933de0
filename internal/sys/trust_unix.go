//go:build linux || darwin || freebsd

package sys

import (
	"fmt"
	"io/fs"
	"os"
	"slices"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/unix"
)

// CheckNamed returns an error for a named file that cannot be trusted: another user
// may have put it there, or may write to it although mode does not grant that. The
// error is an *fs.PathError. It wraps errs.Insecure for a file that
//
//   - is not regular, or has more than one hard link;
//   - is writable by more users than mode grants;
//   - is owned by another user than root, who can always write to it and cut it off.
//     That is permitted if mode lets all users write, or lets the group write and the
//     file's group is one of this process's. For a read-only attachment it is permitted
//     if mode grants anything to others.
//
// It wraps fs.ErrNotExist for a file whose name was removed since it was opened. It
// never blocks.
func CheckNamed(f *os.File, path string, mode fs.FileMode, readOnly bool) error {
	st, err := stat(f, path)
	if err != nil {
		return err
	}
	if st.Nlink == 0 {
		return errs.Path("open", path, unix.ENOENT)
	}
	links := int(st.Nlink)
	if links > 1 {
		stay := finishLink(path, f)
		links = freshLinks(f, links) - stay
	}
	if links > 1 {
		return errs.Path("open", path, fmt.Errorf("%w: it has %d hard links, and a segment has one: remove the other names", errs.Insecure, links))
	}
	me, err := self()
	if err == nil {
		err = me.trusts(file{st.Uid, st.Gid, fs.FileMode(st.Mode) & fs.ModePerm}, mode, readOnly)
	}
	if err != nil {
		return errs.Path("open", path, err)
	}
	return nil
}

// identity is who this process is, as far as files are concerned.
type identity struct {
	uid    uint32
	groups []uint32 // its own one and the supplementary ones
	// In a user namespace that does not have all ids, one id stands for all that are
	// missing. So a file that has it is nobody's in particular, whoever this
	// process is.
	strangers, strangerGroups uint32
	allUsers, allGroups       bool // no id is missing
}

// file is what a file says of who may write to it.
type file struct {
	uid, gid uint32
	mode     fs.FileMode
}

// owns reports whether the file is certainly this process's user's.
func (me *identity) owns(f file) bool {
	return f.uid == me.uid && (me.allUsers || f.uid != me.strangers)
}

// shares reports whether the file's group is certainly one of this process's.
func (me *identity) shares(f file) bool {
	return slices.Contains(me.groups, f.gid) && (me.allGroups || f.gid != me.strangerGroups)
}

// trusts returns why a named file must not be attached, or nil.
func (me *identity) trusts(f file, mode fs.FileMode, readOnly bool) error {
	if extra := f.mode & 0o222 &^ mode; extra != 0 {
		return fmt.Errorf("%w: its mode %#o lets more users write than Options.Mode %#o: ask for Options.Mode %#o in all programs if these users are meant to write, as in a volume of Kubernetes with an fsGroup, which changes the modes of files at each start; otherwise take the permission away with chmod", errs.Insecure, f.mode, mode, mode|f.mode&0o666)
	}
	// Root can do anything to this process already. In a user namespace that is the
	// namespace's own root.
	if f.uid == 0 || me.owns(f) {
		return nil
	}
	switch {
	case mode&0o077 == 0:
		return fmt.Errorf("%w: it is owned by user %d, this process is user %d, and Options.Mode %#o grants nothing to other users", errs.Insecure, f.uid, me.uid, mode)
	case readOnly, mode&0o002 != 0, mode&0o020 != 0 && me.shares(f):
		return nil
	case mode&0o020 != 0:
		return fmt.Errorf("%w: it is owned by user %d, who can write to it and cut it off; Options.Mode %#o lets a group write, but group %d of the file is not one of this process's (user %d): run the process in that group, attach with Options.ReadOnly, or let that user's processes run as this one's", errs.Insecure, f.uid, mode, f.gid, me.uid)
	}
	return fmt.Errorf("%w: it is owned by user %d, who can write to it and cut it off, this process is user %d, and Options.Mode %#o lets no other user write: attach with Options.ReadOnly, or remove the file if that user has no business with it", errs.Insecure, f.uid, me.uid, mode)
}

// self returns this process's identity.
func self() (*identity, error) {
	groups, err := unix.Getgroups()
	if err != nil {
		return nil, err
	}
	me := &identity{uid: uint32(os.Geteuid()), groups: []uint32{uint32(os.Getegid())}}
	for _, g := range groups {
		me.groups = append(me.groups, uint32(g))
	}
	ids := namespaceIDs()
	me.allUsers, me.strangers = ids.users.complete, ids.users.overflow
	me.allGroups, me.strangerGroups = ids.groups.complete, ids.groups.overflow
	return me, nil
}
