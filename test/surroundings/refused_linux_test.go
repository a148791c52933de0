package surroundings_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"golang.org/x/sys/unix"
)

// confinedUser does what programs do, under a filter: it makes a named and an
// anonymous segment, takes over the lock of a process that is killed, awaits more
// values than there are threads for, and passes a segment on.
var confinedUser = shmtest.Helper("confinedUser", func(args []string) error {
	var errno uint32
	if _, err := fmt.Sscan(args[1], &errno); err != nil {
		return err
	}
	if err := shmtest.Refuse(unix.Errno(errno), args[2:]...); err != nil {
		return err
	}
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	mu, err := shm.NewMutex(s, "mutex")
	if err != nil {
		return err
	}
	fmt.Println("made")
	fmt.Scanln() // until another process has the lock, and is to be killed
	mu.Lock()
	if !mu.Abandoned() {
		return fmt.Errorf("the lock was free")
	}
	mu.Unlock()
	anonymous, err := shm.Anonymous(nil)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	var values []shm.Value[int64]
	for i := range 40 {
		v, err := shm.NewValue(anonymous, fmt.Sprint(i), int64(0))
		if err != nil {
			return err
		}
		values = append(values, v)
		all.Go(func() { _, _ = v.Await(context.Background(), func(n int64) bool { return n > 0 }) })
	}
	if _, err := shm.NewRawArray[byte](s, "large", 4<<20); err != nil {
		return err
	}
	time.Sleep(20 * time.Millisecond) // some of them sleep by now
	for _, v := range values {
		v.Add(1)
	}
	all.Wait()
	child := exec.Command("child")
	if s.Pass(child); len(child.ExtraFiles) != 1 {
		return fmt.Errorf("Pass gives a child %d files", len(child.ExtraFiles))
	}
	return s.Sync()
})

// Without any of the optional system calls everything works.
func TestWithoutOptionalCalls(t *testing.T) {
	shmtest.NeedLinux(t, "second way to give a file its name without link")
	var optional []string
	for _, c := range sys.Calls() {
		if !c.Needed && c.Name != "renameat2" { // or else linkat: one of them gives a file its name
			optional = append(optional, c.Name)
		}
	}
	for what, c := range map[string]struct {
		errno uint32
		avoid string
	}{
		"ENOSYS":                {errno: uint32(unix.ENOSYS)},
		"EPERM":                 {errno: uint32(unix.EPERM)},
		"killed unless avoided": {uint32(shmtest.KillProcess), sys.AvoidVariable + "=" + strings.Join(optional, ",")},
	} {
		t.Run(what, func(t *testing.T) {
			name := shmtest.Name(t)
			p := shmtest.StartCmd(t, confinedUser, func(cmd *exec.Cmd) {
				cmd.Env = append(cmd.Environ(), c.avoid)
			}, append([]string{name, fmt.Sprint(c.errno)}, optional...)...)
			p.Expect("made")
			holder := shmtest.Start(t, bubblePeer, name)
			holder.Do("lock", "done")
			if _, err := fmt.Fprintln(p.Stdin); err != nil {
				t.Fatal(err)
			}
			holder.Kill()
			p.Wait()
		})
	}
}
