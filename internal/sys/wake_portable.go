//go:build (linux && shmportable) || darwin || freebsd

package sys

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// wakeTable is the table of those who sleep on words, in a lease file. An entry is a
// number: 32 bits that stand for the word, and 32 for the process. A waker takes an entry
// out, by compare-and-swap, and rings the bell of that process: a FIFO beside the lease
// file, which the process reads. So each wake-up ends one sleep.
//
// The entry of a process that was killed stays until a waker cannot ring its bell, or
// until somebody needs the slot.
type wakeTable struct {
	place *place
	slots []atomic.Uint64 // nil: this process may not write to the lease file
	seen  *atomic.Int64   // when a sleeper without an entry was here last
}

const (
	windowSlots = 256         // of a word
	blindFor    = time.Second // so long a sleeper without an entry may be there
)

func (t *wakeTable) init(p *place) {
	t.place = p
	if !p.writes {
		return
	}
	err := withDescriptor(p.file, func(fd int) error {
		b, err := unix.Mmap(fd, 0, leaseFileSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		// SAFETY: b has leaseFileSize bytes, starts on a page, and is never unmapped. It has
		// no Go pointers.
		t.slots = unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(&b[wakeOffset])), wakeSlots)
		t.seen = (*atomic.Int64)(unsafe.Pointer(&b[leaseHeader]))
		return nil
	})
	if err != nil {
		t.slots = nil // Its sleepers look from time to time.
	}
}

// window returns the slots for a word, and the upper half of its entries.
func (t *wakeTable) window(tag uint64) (slots []atomic.Uint64, high uint64) {
	first := int(tag%(wakeSlots/windowSlots)) * windowSlots
	return t.slots[first : first+windowSlots], tag>>32<<32 | 1<<63
}

// enter puts a sleeper into the table, if there is room.
func (t *wakeTable) enter(s *sleeper, tag uint64) {
	if t.slots == nil {
		return
	}
	me := bellOf(t.place)
	if me == 0 {
		return
	}
	slots, high := t.window(tag)
	entry := high | uint64(me)
	withoutFault(func() {
		for range 2 {
			for i, first := 0, anywhere(windowSlots); i < windowSlots; i++ {
				slot := &slots[(first+i)%windowSlots]
				if slot.Load() != 0 {
					continue
				}
				// Before the entry is there: rungHere looks at it.
				sleepers.Lock()
				if slot.CompareAndSwap(0, entry) {
					s.slot, s.entry = slot, entry
				}
				sleepers.Unlock()
				if s.slot != nil {
					return
				}
			}
			t.sweep(slots)
		}
	})
}

// sweep takes the entries of dead processes out.
func (t *wakeTable) sweep(slots []atomic.Uint64) {
	dead := map[uint32]bool{}
	for i := range slots {
		e := slots[i].Load()
		proc := uint32(e)
		if e == 0 || proc == bells.me(t.place) {
			continue
		}
		if _, known := dead[proc]; !known {
			dead[proc] = !bells.ring(t.place, proc)
		}
		if dead[proc] {
			slots[i].CompareAndSwap(e, 0)
		}
	}
}

// wake ends the sleeps of up to n sleepers on a word. It returns how many, and 1 instead of
// 0 if there may be others.
func (t *wakeTable) wake(tag uint64, n int) (woken int) {
	if t.slots == nil {
		return 1
	}
	slots, high := t.window(tag)
	maybe := 0
	there := withoutFault(func() {
		mine := false
		for i, first := 0, anywhere(windowSlots); i < windowSlots && woken < n; i++ {
			slot := &slots[(first+i)%windowSlots]
			e := slot.Load()
			if e>>32<<32 != high || !slot.CompareAndSwap(e, 0) {
				continue
			}
			if uint32(e) == bells.me(t.place) {
				mine = true
				woken++
			} else if bells.ring(t.place, uint32(e)) {
				woken++
			}
		}
		if mine {
			rungHere()
		}
		if last := t.seen.Load(); last != 0 && uint64(Monotonic()-last) < uint64(blindFor) {
			maybe = 1
		}
	})
	if !there {
		maybe = 1
	}
	return max(woken, maybe)
}

// blind says that a sleeper is about who is not in the table.
func (t *wakeTable) blind() {
	if t.slots != nil {
		withoutFault(func() { t.seen.Store(Monotonic()) })
	}
}

// bells has the bells of processes.
var bells = bellTable{mine: map[*place]uint32{}, others: map[bellKey]int{}}

type bellKey struct {
	place *place
	proc  uint32
}

type bellTable struct {
	sync.Mutex
	mine   map[*place]uint32 // the number of this process's bell; 0: it can have none
	others map[bellKey]int   // descriptors of others' bells
}

const maxBells = 64 // that are kept open

func bellPath(p *place, proc uint32) string {
	return fmt.Sprintf("%s%08x", bellPrefix(p), proc)
}

func bellPrefix(p *place) string { return fmt.Sprintf("%s.shm-wake-%010x-", sharedDir, p.number) }

// me returns the number of this process's bell, or 0.
func (b *bellTable) me(p *place) uint32 {
	b.Lock()
	defer b.Unlock()
	return b.mine[p]
}

// bellOf returns the number of this process's bell, and makes it. It returns 0 if that is
// impossible.
func bellOf(p *place) uint32 {
	bells.Lock()
	defer bells.Unlock()
	proc, known := bells.mine[p]
	if !known {
		removeBells(p)
		proc = bells.make(p)
		bells.mine[p] = proc
	}
	return proc
}

// make makes this process's bell, and listens to it. b is locked.
func (b *bellTable) make(p *place) uint32 {
	const tries = 100
	for range tries {
		proc := rand.Uint32() | 1
		path := bellPath(p, proc)
		if err := retry(func() error { return unix.Mkfifo(path, 0o600) }); err == unix.EEXIST {
			continue
		} else if err != nil {
			return 0
		}
		var fd int
		err := retry(func() (err error) {
			// For writing too, so that there is always a writer.
			fd, err = unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
			return err
		})
		if err != nil {
			continue
		}
		f := os.NewFile(uintptr(fd), path)
		// Whoever may write to the segments may ring.
		_ = unix.Fchown(fd, -1, p.gid)
		_ = unix.Fchmod(fd, uint32(p.mode&0o222|0o400))
		var opened, named unix.Stat_t
		if unix.Fstat(fd, &opened) != nil || unix.Lstat(path, &named) != nil || keyOf(&opened) != keyOf(&named) || opened.Mode&unix.S_IFMT != unix.S_IFIFO {
			_ = f.Close() // another process has taken it for that of a dead one
			continue
		}
		go listen(f)
		return proc
	}
	return 0
}

// listen wakes sleepers of this process whenever its bell is rung.
func listen(f *os.File) {
	b := make([]byte, 4096)
	for {
		if _, err := f.Read(b); err != nil {
			return // Its sleepers look from time to time.
		}
		rungHere()
	}
}

// ring rings the bell of another process, and reports whether that process lives.
func (b *bellTable) ring(p *place, proc uint32) bool {
	b.Lock()
	defer b.Unlock()
	k := bellKey{p, proc}
	fd, open := b.others[k]
	if !open {
		err := retry(func() (err error) {
			fd, err = unix.Open(bellPath(p, proc), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
			return err
		})
		if err == unix.ENOENT || err == unix.ENXIO {
			if err == unix.ENXIO {
				_ = Remove(bellPath(p, proc))
			}
			return false
		}
		if err != nil {
			return true // It looks from time to time.
		}
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
			_ = unix.Close(fd)
			return false
		}
		for other, old := range b.others {
			if len(b.others) < maxBells {
				break
			}
			_ = unix.Close(old)
			delete(b.others, other)
		}
		b.others[k] = fd
	}
	_, err := unix.Write(fd, []byte{0})
	if err == unix.EPIPE {
		_ = unix.Close(fd)
		delete(b.others, k)
		_ = Remove(bellPath(p, proc))
		return false
	}
	return true // If the FIFO is full, the process is about to read it.
}

// removeBells removes the bells of dead processes.
func removeBells(p *place) {
	dir, prefix := filepath.Split(bellPrefix(p))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || e.Type()&fs.ModeNamedPipe == 0 {
			continue
		}
		fd, err := unix.Open(dir+e.Name(), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		switch err {
		case unix.ENXIO:
			_ = Remove(dir + e.Name())
		case nil:
			_ = unix.Close(fd)
		}
	}
}
