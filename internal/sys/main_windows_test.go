package sys_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

func TestMain(m *testing.M) { shmtest.Main(m) }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const segmentSize = 8 << 20

// segment is a file as a segment has one, and its memory.
type segment struct {
	file   *os.File
	memory []byte
}

// word returns a word of the memory.
func (s segment) word(off int64) *atomic.Uint32 {
	// SAFETY: tests use offsets that are in the mapping and aligned.
	return (*atomic.Uint32)(unsafe.Pointer(&s.memory[off]))
}

func newSegment(t *testing.T) segment {
	t.Helper()
	path := filepath.Join(t.TempDir(), "segment")
	f := shmtest.Opened(sys.CreateNamed(path, 0o600, []byte("header"), 4096))(t)
	return mapped(t, f)
}

func mapped(t *testing.T, f *os.File) segment {
	t.Helper()
	s := segment{f, shmtest.Must(sys.Map(f, segmentSize, false))(t)}
	t.Cleanup(func() { check(t, sys.Unmap(s.memory)) })
	return s
}

// peer is another process with the segment.
var peer = shmtest.Helper("peer", func(args []string) error {
	f, err := sys.OpenExisting(args[0], false)
	if err != nil {
		return err
	}
	if f, err = sys.Reopen(f, args[0]); err != nil {
		return err
	}
	memory, err := sys.Map(f, segmentSize, false)
	if err != nil {
		return err
	}
	s := segment{f, memory}
	fmt.Println("ready")
	return shmtest.Replies(func(words []string) (string, error) {
		n, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil {
			return "", err
		}
		switch words[0] {
		case "lock":
			got, err := sys.TryLock(f, n)
			return fmt.Sprint(got), err
		case "unlock":
			sys.Unlock(f, n)
		case "wait": // until the word is not 0
			for s.word(n).Load() == 0 {
				sys.FutexWait(s.word(n), 0, sys.AnyBit, time.Minute)
			}
		case "change":
			for s.word(n).Load() == 0 {
				sys.FutexWaitChange(s.word(n), 0, sys.AnyBit, time.Minute)
			}
		case "pong": // answers each odd number with the next
			for w := s.word(n); ; {
				v := w.Load()
				if v%2 == 0 {
					sys.FutexWait(w, v, sys.AnyBit, time.Minute)
					continue
				}
				w.Add(1)
				sys.FutexWake(w, 1, sys.AnyBit)
				if v >= 2_001 {
					return "done", nil
				}
			}
		}
		return "done", nil
	})
})

func startPeer(t *testing.T, s segment) *shmtest.Process {
	t.Helper()
	p := shmtest.Start(t, peer, s.file.Name())
	p.Expect("ready")
	return p
}
