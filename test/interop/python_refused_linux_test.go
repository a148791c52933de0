package interop_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"golang.org/x/sys/unix"
)

// confined becomes another program, under a filter of system calls.
var confined = shmtest.Helper("confined", func(args []string) error {
	var errno uint32
	if _, err := fmt.Sscan(args[0], &errno); err != nil {
		return err
	}
	if err := shmtest.Refuse(unix.Errno(errno), strings.Split(args[1], ",")...); err != nil {
		return err
	}
	return syscall.Exec(args[2], args[2:], os.Environ())
})

// pythonUser does what programs do: it makes a named segment, on a disk too, and an
// anonymous one, takes over the lock of a process that is killed, lets one grow, waits for
// several locks and for a process, and passes a segment on.
const pythonUser = `
import os, signal, sys, threading
import shm
name, path = sys.argv[1:]
for where in (name, path):
    with shm.open(where, exclusive=True) as seg:
        seg.raw_array("large", "b", 4 << 20)[(4 << 20) - 1] = 1
    shm.remove(where)
seg = shm.anonymous()
m, v, many = seg.mutex("m"), seg.value("n", "q"), seg.mutexes("many", 2)
v.add(1)
r, w = os.pipe()
child = os.fork()
if child == 0:
    m.acquire()
    many[0].acquire()
    many[1].acquire()
    os.write(w, b"x")
    while True:
        signal.pause()
os.read(r, 1)
holder = [p for p in seg.processes() if p.pid == child][0]
def end():
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
threading.Timer(0.05, end).start()
assert many.lock_any(timeout=60) is not None
seg.await_exit(holder, timeout=60)
m.acquire()
assert m.abandoned()
m.release()
seg.raw_array("large", "b", 4 << 20)[0] = 1
with seg.passing() as more:
    assert len(more["pass_fds"]) in (1, 2), more
seg.sync()
print(v.value)
`

// Python does without any of the optional calls, and asks for none that SHM_AVOID names.
func TestPythonWithoutOptionalCalls(t *testing.T) {
	var all []string
	type filter struct {
		errno unix.Errno
		calls string
	}
	filters := map[string]filter{}
	for _, c := range sys.Calls() {
		if c.Needed {
			continue
		}
		if c.Name != "renameat2" { // or else linkat: one of them gives a file its name
			all = append(all, c.Name)
		}
	}
	filters["killed"] = filter{shmtest.KillProcess, strings.Join(all, ",")}
	filters["killed for linkat"] = filter{shmtest.KillProcess, "linkat"}
	filters["killed for renameat2"] = filter{shmtest.KillProcess, "O_TMPFILE,renameat2"}
	for _, errno := range []unix.Errno{unix.ENOSYS, unix.EPERM, unix.EACCES, unix.EINVAL, unix.EOPNOTSUPP} {
		filters[unix.ErrnoName(errno)] = filter{errno, strings.Join(all, ",")}
	}
	for i, python := range withNative(t, shmtest.Pythons(t, shmtest.PythonShm)[:1]) {
		for what, f := range filters {
			if i > 0 && what != "killed" && what != "EPERM" {
				continue // The verbs in C make one call, futex. The rest is the same code.
			}
			t.Run(python.String()+" "+what, func(t *testing.T) {
				inner := python.Command("-W", "error", "-c", pythonUser, shmtest.Name(t), t.TempDir()+"/segment")
				args := append([]string{fmt.Sprint(uint32(f.errno)), f.calls, inner.Path}, inner.Args[1:]...)
				cmd := shmtest.Must(shmtest.Command(confined, args...))(t)
				cmd.Env = append(inner.Env, shmtest.HelperVariable+"="+confined)
				if f.errno == shmtest.KillProcess {
					cmd.Env = append(cmd.Env, sys.AvoidVariable+"="+f.calls)
				}
				out, err := cmd.Output()
				if err != nil || string(out) != "1\n" {
					var stderr []byte
					if exit, ok := errors.AsType[*exec.ExitError](err); ok {
						stderr = exit.Stderr
					}
					t.Fatalf("%v %q\n%s", err, out, stderr)
				}
			})
		}
	}
}
