//go:build linux && !shmportable

package sys

import "io/fs"

// What a filesystem must lack before these are called, and the decision of
// CheckNamed.
var (
	Fill         = fill
	Rename       = rename
	OpenBeside   = openBeside
	CreateBeside = createBeside
	CoversAll    = coversAll
)

type (
	Identity = identity
	File     = file
)

// NewIdentity returns an identity in a user namespace that lacks ids if strangers
// are not 0.
func NewIdentity(uid uint32, groups []uint32, strangers uint32) *Identity {
	return &identity{uid: uid, groups: groups, strangers: strangers, strangerGroups: strangers, allUsers: strangers == 0, allGroups: strangers == 0}
}

// NewFile returns what a file says of who may write to it.
func NewFile(uid, gid uint32, mode uint32) File { return file{uid, gid, fs.FileMode(mode)} }

// Trusts is the decision of CheckNamed.
func (me *identity) Trusts(f File, mode fs.FileMode, readOnly bool) error {
	return me.trusts(f, mode, readOnly)
}
