package sys

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"unsafe"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/windows"
)

// user returns the security id of the user in whose name this process runs.
var user = sync.OnceValues(func() (*windows.SID, error) {
	u, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, err
	}
	return u.User.Sid.Copy()
})

// descriptorFor returns who may open a new file: its user, the system and the
// administrators, and everybody as far as mode grants that to others. Windows has no
// group of a file that would decide, so what mode grants to a group it grants to nobody.
func descriptorFor(mode fs.FileMode) (*windows.SECURITY_DESCRIPTOR, error) {
	me, err := user()
	if err != nil {
		return nil, err
	}
	sddl := fmt.Sprintf("D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;%s)", me)
	switch {
	case mode&0o002 != 0:
		sddl += "(A;;FRFW;;;WD)"
	case mode&0o004 != 0:
		sddl += "(A;;FR;;;WD)"
	}
	return windows.SecurityDescriptorFromString(sddl)
}

// writing has the rights by which somebody can change a file, or who may change it. The
// right to remove it is not among them: who has that for the directory can do so too.
const writing = windows.FILE_WRITE_DATA | windows.FILE_APPEND_DATA | windows.WRITE_DAC | windows.WRITE_OWNER | windows.GENERIC_WRITE | windows.GENERIC_ALL

// CheckNamed returns an error for a named file that cannot be trusted: another user
// may have put it there, or may write to it although mode does not grant that. The
// error is an *fs.PathError. It wraps errs.Insecure for a file that
//
//   - is not regular, or has more than one hard link;
//   - is owned by another user, unless that is the system or the administrators, who can do
//     anything to this process, or mode grants others what this process does;
//   - has an access-control list that lets others write, unless mode does.
//
// It wraps fs.ErrNotExist for a file whose name was removed since it was opened. It
// never blocks.
func CheckNamed(f *os.File, path string, mode fs.FileMode, readOnly bool) error {
	info, err := stat(f, path)
	if err != nil {
		return err
	}
	if info.NumberOfLinks == 0 || movedAside(f) {
		return errs.Path("open", path, windows.ERROR_FILE_NOT_FOUND)
	}
	if info.NumberOfLinks > 1 {
		return errs.Path("open", path, fmt.Errorf("%w: it has %d hard links, and a segment has one: remove the other names", errs.Insecure, info.NumberOfLinks))
	}
	var sd *windows.SECURITY_DESCRIPTOR
	err = withHandle(f, func(h windows.Handle) (err error) {
		sd, err = windows.GetSecurityInfo(h, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
		return err
	})
	if err != nil {
		return errs.Path("open", path, err)
	}
	me, err := user()
	if err == nil {
		err = trusts(sd, me, mode, readOnly)
	}
	if err != nil {
		return errs.Path("open", path, err)
	}
	return nil
}

// movedAside reports whether Remove has given a file another name.
func movedAside(f *os.File) bool {
	moved := false
	_ = withHandle(f, func(h windows.Handle) error {
		name := make([]uint16, windows.MAX_LONG_PATH)
		n, err := windows.GetFinalPathNameByHandle(h, &name[0], uint32(len(name)), 0)
		if err == nil && int(n) < len(name) {
			moved = strings.HasSuffix(windows.UTF16ToString(name[:n]), oldSuffix)
		}
		return err
	})
	return moved
}

// trusts returns why a file with that owner and list must not be attached, or nil.
func trusts(sd *windows.SECURITY_DESCRIPTOR, me *windows.SID, mode fs.FileMode, readOnly bool) error {
	owner, _, err := sd.Owner()
	if err != nil || owner == nil {
		return fmt.Errorf("%w: it has no owner (%w)", errs.Insecure, fs.ErrPermission)
	}
	if !masters(owner, me) && mode&0o002 == 0 && !(readOnly && mode&0o004 != 0) {
		return fmt.Errorf("%w: it is owned by %v, this process is %v, and Options.Mode %#o lets no other user write: attach with Options.ReadOnly and a mode that lets others read, or remove the file if that user has no business with it", errs.Insecure, account(owner), account(me), mode)
	}
	list, _, err := sd.DACL()
	if err != nil || list == nil {
		return fmt.Errorf("%w: it has no access-control list, so everybody may write to it: remove the file, or give it a list with icacls", errs.Insecure)
	}
	if mode&0o002 != 0 {
		return nil
	}
	for i := range uint32(list.AceCount) {
		var ace *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(list, i, &ace); err != nil {
			return fmt.Errorf("%w: its access-control list cannot be read (%w)", errs.Insecure, err)
		}
		if ace.Header.AceType == windows.ACCESS_DENIED_ACE_TYPE || ace.Header.AceFlags&windows.INHERIT_ONLY_ACE != 0 {
			continue
		}
		if ace.Header.AceType != windows.ACCESS_ALLOWED_ACE_TYPE {
			return fmt.Errorf("%w: its access-control list has an entry of a kind that is not known (%d)", errs.Insecure, ace.Header.AceType)
		}
		// SAFETY: in an entry of this kind a security id begins there, which Windows has checked.
		sid := (*windows.SID)(unsafe.Pointer(&ace.SidStart))
		if uint32(ace.Mask)&writing != 0 && !masters(sid, me) && !sid.Equals(owner) {
			return fmt.Errorf("%w: its access-control list lets %v write, and Options.Mode %#o does not: ask for Options.Mode %#o in all programs if they are meant to write; otherwise take the permission away with icacls", errs.Insecure, account(sid), mode, mode|0o006)
		}
	}
	return nil
}

// masters reports whether a security id is this process's user, or one that can do
// anything to this process.
func masters(sid, me *windows.SID) bool {
	return sid.Equals(me) || sid.IsWellKnown(windows.WinLocalSystemSid) || sid.IsWellKnown(windows.WinBuiltinAdministratorsSid) ||
		sid.IsWellKnown(windows.WinCreatorOwnerRightsSid)
}

// account returns the name of a security id for messages.
func account(sid *windows.SID) string {
	name, domain, _, err := sid.LookupAccount("")
	if err != nil {
		return sid.String()
	}
	return domain + `\` + name
}
