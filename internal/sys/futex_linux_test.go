//go:build linux && !shmportable

package sys_test

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"golang.org/x/sys/unix"
)

// forEver is longer than eventually waits.
const forEver = time.Hour

// words maps the first page of a file.
func words(f *os.File) (*[16]atomic.Uint32, error) {
	b, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	// SAFETY: the mapping starts on a page, is longer, and stays until the process
	// ends.
	return (*[16]atomic.Uint32)(unsafe.Pointer(unsafe.SliceData(b))), nil
}

// sleepOnWord sleeps until it is woken and word 0 is 5, and says how it slept.
var sleepOnWord = shmtest.Helper("sleepOnWord", func(args []string) error {
	f, err := os.OpenFile(args[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	w, err := words(f)
	if err != nil {
		return err
	}
	w[1].Store(1)
	for w[0].Load() != 5 {
		sys.FutexWait(&w[0], 0, 1<<3, forEver)
	}
	fmt.Println("awake")
	return nil
})

func TestFutexWakesAnotherProcess(t *testing.T) {
	f := file(t, 4096)
	w := shmtest.Must(words(f))(t)
	p := shmtest.Start(t, sleepOnWord, f.Name())
	shmtest.Eventually(t, "the helper runs", func() bool { return w[1].Load() == 1 })
	// It may be on its way to sleep, and sleep again.
	shmtest.Eventually(t, "it sleeps, and is woken", func() bool { return sys.FutexWake(&w[0], 1, 1<<3) == 1 })
	w[0].Store(5)
	sys.FutexWake(&w[0], 1, sys.AnyBit)
	p.Expect("awake")
	p.Wait()
}

func TestFutexWaitReturns(t *testing.T) {
	w := shmtest.Must(words(file(t, 4096)))(t)
	sys.FutexWait(&w[0], 1, sys.AnyBit, forEver) // another value is there
	for end := sys.Monotonic() + int64(time.Millisecond); sys.Monotonic() < end; {
		sys.FutexWait(&w[0], 0, sys.AnyBit, time.Millisecond) // nobody wakes it
	}
	if n := sys.FutexWake(&w[0], 10, sys.AnyBit); n != 0 {
		t.Fatalf("%d are woken, and nobody sleeps", n)
	}
}

func TestFutexWakesByBits(t *testing.T) {
	w := shmtest.Must(words(file(t, 4096)))(t)
	awake := make(chan uint32)
	for _, bit := range []uint32{1, 2} {
		go func() {
			for w[bit].Load() == 0 {
				sys.FutexWait(&w[0], 0, bit, forEver)
			}
			awake <- bit
		}()
	}
	for _, bit := range []uint32{2, 1} {
		w[bit].Store(1)
		shmtest.Eventually(t, "the one with the bit is woken", func() bool {
			if n := sys.FutexWake(&w[0], 2, bit|1<<7); n > 1 {
				t.Fatalf("bit %d wakes %d", bit, n)
			}
			select {
			case got := <-awake:
				if got != bit {
					t.Fatalf("bit %d wakes %d", bit, got)
				}
				return true
			default:
				return false
			}
		})
	}
}

func TestFutexWakeOfUnmappedMemory(t *testing.T) {
	b := shmtest.Must(unix.Mmap(-1, 0, 4096, unix.PROT_READ, unix.MAP_SHARED|unix.MAP_ANON))(t)
	// SAFETY: the address is passed to the kernel and never followed.
	word := (*atomic.Uint32)(unsafe.Pointer(unsafe.SliceData(b)))
	check(t, unix.Munmap(b))
	if n := sys.FutexWake(word, 1, sys.AnyBit); n != 0 {
		t.Fatal(n)
	}
}

func TestFutexWaitAny(t *testing.T) {
	if !sys.CanWaitAny() {
		if _, err := sys.FutexWaitAny(nil, 0); err == nil {
			t.Fatal("it can wait")
		}
		t.Skip("this system has no FUTEX_WAITV")
	}
	w := shmtest.Must(words(file(t, 4096)))(t)
	list := []sys.Word{{Addr: &w[0], Seen: 0}, {Addr: &w[1], Seen: 0}, {Addr: &w[2], Seen: 0}}
	if late, err := sys.FutexWaitAny(list, time.Millisecond); !late || err != nil {
		t.Fatalf("nobody wakes: %v, %v", late, err)
	}
	list[2].Seen = 7
	if late, err := sys.FutexWaitAny(list, forEver); late || err != nil {
		t.Fatalf("a word has changed: %v, %v", late, err)
	}
	list[2].Seen = 0
	returned := make(chan error)
	go func() {
		for {
			late, err := sys.FutexWaitAny(list, forEver)
			if late {
				err = errors.Join(err, errors.New("late"))
			}
			if err != nil || w[1].Load() != 0 {
				returned <- err
				return
			}
		}
	}()
	shmtest.Eventually(t, "it sleeps, and is woken", func() bool { return sys.FutexWake(&w[1], 1, sys.AnyBit) == 1 })
	w[1].Store(1)
	sys.FutexWake(&w[1], 1, sys.AnyBit)
	check(t, <-returned)
	for what, list := range map[string][]sys.Word{"no words": nil, "too many words": make([]sys.Word, 129), "no memory": {{}}} {
		if late, err := sys.FutexWaitAny(list, forEver); late || err == nil {
			t.Errorf("%s: %v, %v", what, late, err)
		}
	}
}
