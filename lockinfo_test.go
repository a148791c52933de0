//go:build linux

package shm_test

import (
	"fmt"
	"strings"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"example.org/shm/test/agent"
)

func TestLockInfo(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	a := shmtest.Must(shm.NewArray[int32](s, "a", 3))(t)
	shmtest.Must(shm.NewRawValue(s, "raw", int8(0)))(t)
	shmtest.Must(shm.NewMutex(s, "mutex"))(t)
	if lock, ok := lookup(t, s, "raw").Lock(); ok || lock != (shm.LockInfo{}) {
		t.Errorf("a raw value has a lock: %v", lock)
	}
	e, mutex := lookup(t, s, "a"), lookup(t, s, "mutex")
	if e.Layout.Format == "" || mutex.Layout.Format != "" || mutex.Any() != nil || mutex.Size != 0 {
		t.Errorf("%+v, %+v", e, mutex)
	}
	check := func(e shm.Entry, want shm.LockInfo, text string) {
		t.Helper()
		got, ok := e.Lock()
		got.ID = 0
		if !ok || got != want || !strings.Contains(got.String(), text) {
			t.Errorf("%+v, want %+v; %s", got, want, got)
		}
	}
	check(mutex, shm.LockInfo{}, "free")
	if mutex.Text() != "free" {
		t.Error(mutex.Text())
	}
	p := shmtest.Start(t, abandoner, name)
	p.Expect("inside")
	pid := p.Cmd.Process.Pid
	held := shm.LockInfo{Held: true, Pid: pid, Program: sys.Program(), Alive: true}
	check(e, held, fmt.Sprintf("held by %q (pid %d)", sys.Program(), pid))
	ro := lookup(t, open(t, name, &shm.Options{ReadOnly: true}), "a")
	check(ro, held, "held by")
	p.Kill()
	held.Alive = false
	check(e, held, "dead")
	check(ro, held, "dead")
	a.Mutex().Lock()
	own, _ := e.Lock()
	if !own.Held || !own.Alive || !own.Abandoned || own.Takeovers != 1 || !strings.Contains(own.String(), "abandoned, takeovers: 1") {
		t.Errorf("%+v: %s", own, own)
	}
	a.Mutex().Abandoned()
	a.Mutex().Unlock()
	if l, _ := e.Lock(); l.Held || l.Abandoned || l.Takeovers != 1 {
		t.Errorf("%+v", l)
	}
	// What a faulty peer writes is quoted. An id that the table has forgotten has no
	// name.
	cell := agent.Cell(t, s, "mutex")
	cell.Word.Store(own.ID | format.LocalWaiters)
	agent.Header(t, s).Table[own.ID%format.TableLen].Program = [48]byte{0x1b, '[', 'J'}
	if text := mutex.Text(); !strings.Contains(text, `"\x1b[J"`) || !strings.Contains(text, "has, or had, waiters") {
		t.Errorf("%q", text)
	}
	if lock, _ := mutex.Lock(); !lock.Held || !lock.Waiting || lock.Reserved || lock.ID != own.ID {
		t.Errorf("%+v", lock)
	}
	cell.Word.Store(12345)
	if text := mutex.Text(); text != "held by id 12345, which is dead" {
		t.Errorf("%q", text)
	}
	cell.Word.Store(format.KernelWaiters)
	if text := mutex.Text(); !strings.HasPrefix(text, "free, reserved") {
		t.Errorf("%q", text)
	}
	if lock, _ := mutex.Lock(); lock.Held || !lock.Waiting || !lock.Reserved || lock.ID != 0 {
		t.Errorf("%+v", lock)
	}
	cell.Word.Store(0)
}
