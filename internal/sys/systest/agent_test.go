package systest_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

func TestMain(m *testing.M) { shmtest.Main(m) }

const (
	size      = 64 << 10 // of a new file
	reserved  = 4 << 20  // bytes of a mapping
	leaseBase = 1 << 62  // bytes that are locked: format.LeaseBase
	forEver   = time.Hour
)

// shared is a file in one process, mapped, with a file for locks.
type shared struct {
	path  string
	f     *os.File
	locks *os.File
	place uint64
	b     []byte
}

// word returns a word of the shared memory.
func (s *shared) word(i int) *atomic.Uint32 {
	// SAFETY: the mapping starts on a page, is longer, and stays until the process ends.
	return (*atomic.Uint32)(unsafe.Pointer(&s.b[64*(i+1)]))
}

// create makes a file. Its first 8 bytes are the place of its locks.
func create(path string, mode fs.FileMode) (*shared, error) {
	place, err := sys.NewPlace(mode)
	if err != nil {
		return nil, err
	}
	f, err := sys.CreateNamed(path, mode, binary.NativeEndian.AppendUint64(nil, place), size)
	if err != nil {
		return nil, err
	}
	return attach(path, f)
}

// open attaches to a file.
func open(path string) (*shared, error) {
	f, err := sys.OpenExisting(path, false)
	if err != nil {
		return nil, err
	}
	return attach(path, f)
}

func attach(path string, f *os.File) (*shared, error) {
	var head [8]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return nil, err
	}
	s := &shared{path: path, f: f, place: binary.NativeEndian.Uint64(head[:])}
	if _, err := sys.Settle(f, path, s.place, false); err != nil {
		return nil, sys.CloseAfter(f, err)
	}
	var err error
	if s.b, err = sys.Map(f, reserved, false); err != nil {
		return nil, sys.CloseAfter(f, err)
	}
	if s.locks, err = sys.Reopen(f, path); err != nil {
		return nil, sys.CloseAfter(f, err)
	}
	return s, nil
}

// agent is another process that has the file. It does what it is told.
var agent = shmtest.Helper("agent", func(args []string) error {
	s, err := open(args[0])
	if err != nil {
		fmt.Println(describe(err))
		return nil
	}
	fmt.Println("ready")
	return shmtest.Replies(func(words []string) (string, error) { return s.answer(words) })
})

// describe names the kind of an error.
func describe(err error) string {
	switch {
	case err == nil:
		return "done"
	case errors.Is(err, fs.ErrNotExist):
		return "missing"
	case errors.Is(err, fs.ErrExist):
		return "exists"
	}
	return "refused"
}

func (s *shared) answer(words []string) (string, error) {
	number := func(i int) int64 {
		n, _ := strconv.ParseInt(words[i], 10, 64)
		return n
	}
	switch words[0] {
	case "lock":
		got, err := sys.TryLock(s.locks, number(1))
		return fmt.Sprint(got), err
	case "wait":
		return "got", sys.WaitLock(s.locks, number(1))
	case "unlock":
		sys.Unlock(s.locks, number(1))
		return "done", nil
	case "locked":
		held, err := sys.Locked(s.f, number(1), 1)
		return fmt.Sprint(held), err
	case "touch": // opens and closes the file as any code may
		b, err := os.ReadFile(s.path)
		return fmt.Sprint(len(b) >= size), err
	case "store":
		s.word(int(number(1))).Store(uint32(number(2)))
		return "done", nil
	case "load":
		return fmt.Sprint(s.word(int(number(1))).Load()), nil
	case "grow":
		return "done", sys.Reserve(s.f, s.path, size, number(1))
	case "clock":
		return fmt.Sprint(sys.Monotonic()), nil
	case "sleep": // until the word has changed
		w := s.word(int(number(1)))
		for w.Load() == 0 {
			sys.FutexWait(w, 0, 1, forEver)
		}
		return "awake", nil
	case "nap": // once
		sys.FutexWait(s.word(int(number(1))), 0, 1, forEver)
		return "awake", nil
	case "await":
		w := s.word(int(number(1)))
		for w.Load() == 0 {
			sys.FutexWaitChange(w, 0, 1, forEver)
		}
		return "awake", nil
	case "any":
		list := []sys.Word{{Addr: s.word(int(number(1)))}, {Addr: s.word(int(number(2)))}}
		for list[0].Addr.Load() == 0 && list[1].Addr.Load() == 0 {
			if _, err := sys.FutexWaitAny(list, forEver); err != nil {
				return "", err
			}
		}
		return "awake", nil
	case "serve": // answers each odd number in word 1 by the next even one, without end
		turns(s.word(int(number(1))), 1)
	}
	return "", fmt.Errorf("unknown: %q", words)
}

// turns increments a word whenever its last bit is mine, for ever.
func turns(w *atomic.Uint32, mine uint32) {
	for {
		if v := w.Load(); v&1 == mine {
			w.Store(v + 1)
			sys.FutexWakeChanged(w, v)
		} else {
			sys.FutexWaitChange(w, v, 1, time.Second)
		}
	}
}

// file makes a file, which is removed when the test ends, and has what this process needs.
func file(t *testing.T) *shared {
	t.Helper()
	return shmtest.Must(create(sys.Path(shmtest.Name(t)), 0o600))(t)
}

// start starts an agent.
func (s *shared) start(t *testing.T) *shmtest.Process {
	t.Helper()
	p := shmtest.Start(t, agent, s.path)
	p.Expect("ready")
	return p
}
