//go:build linux && !shmportable

package sys_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// Who is trusted with a file, for each kind of user, file and options.
func TestTrust(t *testing.T) {
	const (
		me, root, other    = 1000, 0, 1001
		mine, theirs, both = 100, 101, 102 // groups
		nobody             = 65534
	)
	user := sys.NewIdentity(me, []uint32{mine, both}, 0)
	super := sys.NewIdentity(root, []uint32{0}, 0)
	superInGroup := sys.NewIdentity(root, []uint32{0, both}, 0)
	contained := sys.NewIdentity(root, []uint32{0, nobody}, nobody) // root of a user namespace
	stranger := sys.NewIdentity(nobody, []uint32{nobody}, nobody)   // whom a namespace does not know
	realNobody := sys.NewIdentity(nobody, []uint32{nobody}, 0)
	for _, c := range []struct {
		what   string
		who    *sys.Identity
		file   sys.File
		mode   fs.FileMode
		ro, rw bool // read-only; trusted for writing
	}{
		// Own files and root's.
		{"own", user, sys.NewFile(me, mine, 0o600), 0o600, true, true},
		{"own, of any group", user, sys.NewFile(me, theirs, 0o640), 0o600, true, true},
		{"root's", user, sys.NewFile(root, 0, 0o600), 0o600, true, true},
		{"root's own", super, sys.NewFile(root, 0, 0o600), 0o600, true, true},
		{"root's, of a user's group that may write", super, sys.NewFile(root, theirs, 0o660), 0o660, true, true},
		// Modes that let more users write than was asked for.
		{"own, a group may write", user, sys.NewFile(me, mine, 0o660), 0o600, false, false},
		{"own, a group may write, as asked", user, sys.NewFile(me, mine, 0o660), 0o660, true, true},
		{"own, all may write, a group was asked for", user, sys.NewFile(me, mine, 0o666), 0o660, false, false},
		{"own, all but the group", user, sys.NewFile(me, mine, 0o602), 0o660, false, false},
		{"own, all may write, as asked", user, sys.NewFile(me, mine, 0o666), 0o666, true, true},
		{"root's, a group may write", user, sys.NewFile(root, both, 0o660), 0o600, false, false},
		// Other users' files, for this user alone.
		{"another's", user, sys.NewFile(other, theirs, 0o600), 0o600, false, false},
		{"another's, which all may read", user, sys.NewFile(other, theirs, 0o644), 0o600, false, false},
		{"another's for root", super, sys.NewFile(other, theirs, 0o600), 0o600, false, false},
		// Other users' files that others may read: their owner can write.
		{"another's, to be read", user, sys.NewFile(other, theirs, 0o644), 0o644, true, false},
		{"another's, to be read by root", super, sys.NewFile(other, theirs, 0o644), 0o644, true, false},
		{"another's, to be read by the group", user, sys.NewFile(other, both, 0o640), 0o640, true, false},
		// Other users' files that a group may write to.
		{"another's, of a common group", user, sys.NewFile(other, both, 0o660), 0o660, true, true},
		{"another's, of its own group", user, sys.NewFile(other, theirs, 0o660), 0o660, true, false},
		{"another's, of its own group, for root", super, sys.NewFile(other, theirs, 0o660), 0o660, true, false},
		{"another's, of a group that root is in", superInGroup, sys.NewFile(other, both, 0o660), 0o660, true, true},
		{"another's, of a common group, without its bit", superInGroup, sys.NewFile(other, both, 0o600), 0o660, true, true},
		{"another's, of root's group", super, sys.NewFile(other, 0, 0o660), 0o660, true, true}, // only root can have given it that group
		// Other users' files that all may write to.
		{"another's, all may write", user, sys.NewFile(other, theirs, 0o666), 0o666, true, true},
		{"another's, all may write, for root", super, sys.NewFile(other, theirs, 0o666), 0o666, true, true},
		{"another's, all may write, a group was asked for", superInGroup, sys.NewFile(other, both, 0o666), 0o660, false, false},
		// User namespaces: who is not in the map looks like one user.
		{"a stranger's", contained, sys.NewFile(nobody, nobody, 0o600), 0o600, false, false},
		{"a stranger's, of strangers' group", contained, sys.NewFile(nobody, nobody, 0o660), 0o660, true, false},
		{"a stranger's for a stranger", stranger, sys.NewFile(nobody, nobody, 0o600), 0o600, false, false},
		{"a stranger's, which a group may write, for a stranger", stranger, sys.NewFile(nobody, nobody, 0o660), 0o660, true, false},
		{"nobody's for nobody, where all users are known", realNobody, sys.NewFile(nobody, nobody, 0o600), 0o600, true, true},
		{"the namespace's root's", stranger, sys.NewFile(root, 0, 0o600), 0o600, true, true},
		{"its own root's", contained, sys.NewFile(root, 0, 0o600), 0o600, true, true},
	} {
		for _, readOnly := range []bool{false, true} {
			want := c.rw
			if readOnly {
				want = c.ro
			}
			err := c.who.Trusts(c.file, c.mode, readOnly)
			if (err == nil) != want || err != nil && !errors.Is(err, errs.Insecure) {
				t.Errorf("%s, mode %#o, read-only %v: %v", c.what, c.mode, readOnly, err)
			}
		}
	}
}

// The error for a volume of Kubernetes says what to do, since nobody there has changed a
// mode on purpose.
func TestTrustNamesFSGroup(t *testing.T) {
	me := sys.NewIdentity(1000, []uint32{2000}, 0)
	err := me.Trusts(sys.NewFile(1000, 2000, 0o660), 0o600, false)
	for _, want := range []string{"fsGroup", "Options.Mode 0660", "chmod"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestIDMap(t *testing.T) {
	for m, want := range map[string]bool{
		"         0          0 4294967295\n":                              true,
		"0 0 1000\n1000 1000 4294966295\n":                                true,
		"         0     100000      65536\n":                              false,
		"         0       1000          1\n         1     100000 65536\n": false,
		"":         false,
		"nonsense": false,
	} {
		if got := sys.CoversAll(m); got != want {
			t.Errorf("%q: %v", m, got)
		}
	}
}

// checkNamed opens a file, for writing unless its second argument is "ro", and checks it
// for the mode that the third one has.
var checkNamed = shmtest.Helper("checkNamed", func(args []string) error {
	var mode fs.FileMode
	if _, err := fmt.Sscanf(args[2], "%o", &mode); err != nil {
		return err
	}
	readOnly := args[1] == "ro"
	f, err := sys.OpenExisting(args[0], readOnly)
	if err == nil {
		err = sys.CheckNamed(f, args[0], mode, readOnly)
	}
	switch {
	case errors.Is(err, errs.Insecure):
		fmt.Println("insecure")
	case errors.Is(err, fs.ErrPermission):
		fmt.Println("permission")
	case err != nil:
		return err
	default:
		fmt.Println("trusted")
	}
	return nil
})

// The decision, with real users, groups and files.
func TestTrustOfRealUsers(t *testing.T) {
	shmtest.AsNobody(t) // skips unless root runs it
	dir := shmtest.Must(os.MkdirTemp("/dev/shm", "systest"))(t)
	defer os.RemoveAll(dir)
	check(t, os.Chmod(dir, 0o777|os.ModeSticky))
	as := func(uid, gid uint32, groups ...uint32) func(*exec.Cmd) {
		return func(cmd *exec.Cmd) {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid, Groups: groups}}
			cmd.Path, cmd.Dir = "/proc/self/exe", "/"
		}
	}
	root, rootInGroup, user, member := as(0, 0), as(0, 0, 4321), as(1234, 1234), as(1234, 1234, 4321)
	for i, c := range []struct {
		who         func(*exec.Cmd)
		owner, gid  int
		mode        fs.FileMode
		how, ask    string
		want        string
		inNamespace bool
	}{
		{root, 4242, 4242, 0o644, "rw", "644", "insecure", false},
		{root, 4242, 4242, 0o644, "ro", "644", "trusted", false},
		{root, 4242, 4321, 0o660, "rw", "660", "insecure", false},
		{rootInGroup, 4242, 4321, 0o660, "rw", "660", "trusted", false},
		{rootInGroup, 4242, 4242, 0o660, "rw", "660", "insecure", false},
		{root, 4242, 4242, 0o666, "rw", "666", "trusted", false},
		{member, 4242, 4321, 0o660, "rw", "660", "trusted", false},
		{user, 4242, 4321, 0o660, "rw", "660", "permission", false},
		{user, 0, 0, 0o666, "rw", "666", "trusted", false},
		{user, 1234, 0, 0o600, "rw", "600", "trusted", false},
		{nil, 4242, 4242, 0o666, "rw", "664", "insecure", true},
		{nil, 4242, 4242, 0o664, "ro", "664", "trusted", true}, // by root of a namespace that does not know the owner
	} {
		path := filepath.Join(dir, fmt.Sprint(i))
		check(t, os.WriteFile(path, nil, 0o600))
		check(t, errors.Join(os.Chown(path, c.owner, c.gid), os.Chmod(path, c.mode)))
		if c.inNamespace {
			c.who = shmtest.InNamespace(t)
		}
		p := shmtest.StartCmd(t, checkNamed, c.who, path, c.how, c.ask)
		if got := p.Line(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
		p.Wait()
	}
}
