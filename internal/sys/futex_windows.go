package sys

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Windows lets threads of one process sleep on an address, but not those of several. So a
// word in shared memory has events that are named by its file and offset. They exist
// while somebody sleeps, however that one ends.
//
// The event of a lock word wakes one sleeper for each time that it is set, and stays set
// if nobody sleeps yet. A change word has an event for each value that somebody has
// seen, which is set once and for all when the word has changed: it wakes all who have
// seen that value, also those who are about to sleep.
//
// A sleeper opens its event first and then looks at the word. Whoever wakes changes the
// word first and then looks for the event. So one of them sees the other.

// place is where a word is: in a file, or, with a zero key, at an address of this process.
type place struct {
	key Key
	off int64
}

func placeOf(word *atomic.Uint32) (p place, shared bool) {
	// SAFETY: the address is only looked up.
	address := uintptr(unsafe.Pointer(word))
	if key, off, ok := located(address); ok {
		return place{key, off}, true
	}
	return place{off: int64(address)}, false
}

func (p place) lockEvent() string { return fmt.Sprintf(`Global\shm-%v-%d`, p.key, p.off) }
func (p place) changeEvent(value uint32) string {
	return fmt.Sprintf(`Global\shm-%v-%d-%08x`, p.key, p.off, value)
}

// napper is a thread of this process that sleeps on a word.
type napper struct {
	event windows.Handle // of its own; set by wakers in this process
	bits  uint32
}

// nappers has those who sleep now.
var nappers = struct {
	sync.Mutex
	at map[place][]*napper
}{at: map[place][]*napper{}}

var spareNappers sync.Pool // of *napper

func newNapper() (*napper, error) {
	if n, ok := spareNappers.Get().(*napper); ok {
		return n, windows.ResetEvent(n.event)
	}
	h, err := windows.CreateEvent(nil, 0, 0, nil)
	return &napper{event: h}, err
}

func (n *napper) enter(p place) {
	nappers.Lock()
	defer nappers.Unlock()
	nappers.at[p] = append(nappers.at[p], n)
}

func (n *napper) leave(p place) {
	nappers.Lock()
	defer nappers.Unlock()
	all := nappers.at[p]
	for i := range all {
		if all[i] == n {
			all[i] = all[len(all)-1]
			all = all[:len(all)-1]
			break
		}
	}
	if len(all) == 0 {
		delete(nappers.at, p)
	} else {
		nappers.at[p] = all
	}
}

// wakeOwn wakes up to n sleepers of this process that wait for one of the bits.
func wakeOwn(p place, n int, bits uint32) (woken int) {
	nappers.Lock()
	defer nappers.Unlock()
	for _, s := range nappers.at[p] {
		if woken < n && s.bits&bits != 0 {
			_ = windows.SetEvent(s.event) // an event that is open can be set
			woken++
		}
	}
	return woken
}

// FutexWait sleeps while *word is value, for at most d, or until FutexWake names
// one of the bits. It returns early for no reason, so callers look
// at the word again. It returns at once if *word is not value. It blocks the
// thread.
//
// Preconditions: word is in memory that stays mapped during the call. It is private to
// this process, or in what Map returned.
func FutexWait(word *atomic.Uint32, value, bits uint32, d time.Duration) {
	sleep(word, value, bits, d, place.lockEventFor, false)
}

// FutexWaitChange is FutexWait for a word all of whose sleepers FutexWakeChanged wakes.
func FutexWaitChange(word *atomic.Uint32, value, bits uint32, d time.Duration) {
	sleep(word, value, bits, d, place.changeEvent, true)
}

func (p place) lockEventFor(uint32) string { return p.lockEvent() }

// sleep is FutexWait with an event of that name, which stays set if all is true.
func sleep(word *atomic.Uint32, value, bits uint32, d time.Duration, name func(place, uint32) string, all bool) {
	if d <= 0 || word.Load() != value {
		return
	}
	const soon = time.Millisecond // a sleeper without events looks so often
	p, shared := placeOf(word)
	n, err := newNapper()
	if err != nil {
		time.Sleep(min(d, soon))
		return
	}
	defer spareNappers.Put(n)
	n.bits = bits
	n.enter(p)
	defer n.leave(p)
	handles := []windows.Handle{n.event}
	if shared {
		manual := uint32(0)
		if all {
			manual = 1
		}
		h, err := openEvent(name(p, value), manual)
		if err == nil {
			defer windows.CloseHandle(h)
			handles = append(handles, h)
		} else {
			d = min(d, soon)
		}
	}
	if word.Load() != value {
		return
	}
	ms := min((d+time.Millisecond-1)/time.Millisecond, 1<<30)
	_, _ = windows.WaitForMultipleObjects(handles, false, uint32(ms)) // whatever ended it, the caller looks
}

// openEvent opens the event of a name, or makes it.
func openEvent(name string, manual uint32) (windows.Handle, error) {
	p, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return 0, err
	}
	h, err := windows.CreateEvent(nil, manual, 0, p)
	if err == windows.ERROR_ALREADY_EXISTS {
		err = nil
	}
	return h, err
}

// setEvent sets the event of a name. It returns false if there is none.
func setEvent(name string) (found bool) {
	p, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return false
	}
	h, err := windows.OpenEvent(windows.EVENT_MODIFY_STATE, false, p)
	if err != nil {
		return err != windows.ERROR_FILE_NOT_FOUND // another error may hide one
	}
	_ = windows.SetEvent(h)
	_ = windows.CloseHandle(h)
	return true
}

// FutexWakeChanged wakes all who sleep on a word by FutexWaitChange and
// have seen one of the values, in all processes; it may wake others. It is called after
// the word has changed: a value that the word still has wakes nobody. It does not block.
// If word is no longer mapped, it wakes nobody.
func FutexWakeChanged(word *atomic.Uint32, values ...uint32) {
	p, shared := placeOf(word)
	if !shared {
		wakeOwn(p, int(^uint(0)>>1), AnyBit)
		return
	}
	now := word.Load()
	for _, v := range values {
		if v != now {
			setEvent(p.changeEvent(v))
		}
	}
}

// FutexWake wakes up to n sleepers of FutexWait that wait for one of the bits, and
// returns 0 only if certainly nobody sleeps there. With AnyBit they may be in any process.
// With other bits it reaches all sleepers of this process that have one of them, also
// those of FutexWaitChange. It does not block. If word is no longer mapped, it wakes
// nobody.
func FutexWake(word *atomic.Uint32, n int, bits uint32) (woken int) {
	p, shared := placeOf(word)
	if !shared || bits != AnyBit {
		return wakeOwn(p, n, bits)
	}
	if !setEvent(p.lockEvent()) {
		return 0
	}
	if n > 1 {
		wakeOwn(p, n, bits)
	}
	return 1
}

// FutexWaitAny returns an error: see CanWaitAny.
func FutexWaitAny([]Word, time.Duration) (late bool, err error) { return false, errors.ErrUnsupported }

// CanWaitAny returns false: a thread of Windows waits for 64 events at most.
func CanWaitAny() bool { return false }

// CanAsk returns false: a process that may only read cannot tell others that it waits.
func CanAsk() bool { return false }
