package sys

import (
	"sync"
	"time"

	"golang.org/x/sys/windows"
)

// Death tells without delay that a process has exited, by a handle of the process. It is
// only a hint: a pid may have been reused before the watch began, and the table that named
// the process may be wrong.
type Death struct {
	process windows.Handle
	exited  chan struct{}
	closed  chan struct{}
	once    sync.Once
}

// deaths has the watches, for which one thread waits.
var deaths struct {
	sync.Mutex
	all     map[*Death]struct{}
	running bool
	bell    windows.Handle // set when all has changed
}

// watchedAtOnce is how many processes one thread can wait for, beside the bell.
const watchedAtOnce = 63

// WatchPid begins to watch the process that has the pid. It returns nil if the namespace
// is 0 or not this process's own, if there is no such process, if this process may not
// wait for it, or if it watches many already. It never blocks.
func WatchPid(pid int, namespace uint64) *Death {
	if namespace != PidNamespace() || pid <= 0 || int64(pid) > 1<<32-1 {
		return nil
	}
	process, err := windows.OpenProcess(windows.SYNCHRONIZE, false, uint32(pid))
	if err != nil {
		return nil
	}
	d := &Death{process: process, exited: make(chan struct{}), closed: make(chan struct{})}
	deaths.Lock()
	defer deaths.Unlock()
	if deaths.bell == 0 {
		if deaths.bell, err = windows.CreateEvent(nil, 0, 0, nil); err != nil {
			deaths.bell = 0
		}
	}
	if deaths.bell == 0 || len(deaths.all) >= watchedAtOnce {
		_ = windows.CloseHandle(process)
		return nil
	}
	if deaths.all == nil {
		deaths.all = map[*Death]struct{}{}
	}
	deaths.all[d] = struct{}{}
	if deaths.running {
		_ = windows.SetEvent(deaths.bell)
	} else {
		deaths.running = true
		go watchAll()
	}
	return d
}

// watchAll returns when nothing is watched any more. Only it closes the handles for
// which it waits.
func watchAll() {
	for {
		deaths.Lock()
		handles, watches := []windows.Handle{deaths.bell}, []*Death{nil}
		for d := range deaths.all {
			select {
			case <-d.closed:
				delete(deaths.all, d)
				_ = windows.CloseHandle(d.process)
			default:
				handles, watches = append(handles, d.process), append(watches, d)
			}
		}
		if len(watches) == 1 {
			deaths.running = false
			deaths.Unlock()
			return
		}
		deaths.Unlock()
		n, err := windows.WaitForMultipleObjects(handles, false, windows.INFINITE)
		i := int(n) - windows.WAIT_OBJECT_0
		if err != nil || i < 0 || i >= len(watches) {
			time.Sleep(time.Millisecond)
			continue
		}
		if d := watches[i]; d != nil {
			close(d.exited)
			deaths.Lock()
			delete(deaths.all, d)
			deaths.Unlock()
			_ = windows.CloseHandle(d.process)
		}
	}
}

// Wait sleeps for d, or until the process has exited, and reports whether it has.
// It sleeps in Go and keeps no thread. On a nil *Death it sleeps for d and
// returns false. After Close it does the same.
func (h *Death) Wait(d time.Duration) (exited bool) {
	if h == nil {
		time.Sleep(d)
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-h.closed:
		<-t.C
		return false
	case <-h.exited:
		return true
	case <-t.C:
		return false
	}
}

// Exited sleeps until the process has exited, and returns true, or until Close, and
// returns false. It sleeps in Go and keeps no thread.
func (h *Death) Exited() bool {
	select {
	case <-h.exited:
		return true
	case <-h.closed:
		return false
	}
}

// Close ends the watch. It does nothing on a nil *Death, and never blocks.
func (h *Death) Close() {
	if h == nil {
		return
	}
	h.once.Do(func() {
		close(h.closed)
		deaths.Lock()
		defer deaths.Unlock()
		_ = windows.SetEvent(deaths.bell)
	})
}
