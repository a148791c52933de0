package mem_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"golang.org/x/sys/unix"
)

// mapTight maps a file with only so much address space left.
var mapTight = shmtest.Helper("mapTight", func(args []string) error {
	f, err := os.OpenFile(args[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	var used uint64
	if _, err := fmt.Fscan(strings.NewReader(string(statm)), &used); err != nil {
		return err
	}
	const size = 4 << 30
	limit := used*uint64(sys.PageSize) + size*3/4
	if err := unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		return err
	}
	for _, c := range []struct{ size, need, want int64 }{
		{size / 4, sys.PageSize, size / 4}, // There is enough.
		{size, sys.PageSize, size / 4},     // Half of it is there, and as much again is left to the program.
		{size, size / 4, size / 4},
		{size, size/4 + 1, size / 2}, // A quarter is too little.
		{size - sys.PageSize, sys.PageSize, size / 4},
		{size, size/2 + 1, 0}, // Half is too little.
		{size, size, 0},
	} {
		b, err := mem.Map(f, "path", c.size, c.need, false)
		if int64(len(b)) != c.want || (err == nil) != (c.want > 0) {
			return fmt.Errorf("of %d bytes, at least %d: %d, want %d: %w", c.size, c.need, len(b), c.want, err)
		}
		if err != nil {
			if !sys.OutOfMemory(err) || !shmtest.IsPathError(err, "path") {
				return err
			}
			continue
		}
		b[0] = 1
		if err := mem.Unmap(b); err != nil {
			return err
		}
	}
	return nil
})

func TestMapHalvesWhereAddressSpaceIsShort(t *testing.T) {
	if math.MaxInt == math.MaxInt32 || race.Enabled {
		t.Skip("this program has no address space of its own to spend")
	}
	shmtest.Start(t, mapTight, file(t, sys.PageSize).Name()).Wait()
}

// TestMapReclaims: where address space is short, what closed segments had is
// given back first.
func TestMapReclaims(t *testing.T) {
	if math.MaxInt == math.MaxInt32 {
		t.Skip("the size is too large for this system")
	}
	f := shmtest.Opened(sys.CreateAnonymous(nil, sys.PageSize))(t)
	// More than any process has.
	_, err := mem.Map(f, "path", 1<<62, 1<<62, false)
	if !sys.OutOfMemory(err) {
		t.Fatal(err)
	}
	sys.MappingIdle(1)
	defer sys.MappingIdle(-1)
	released := make(chan bool, 1)
	addCleanup(func() {
		sys.MappingReleased()
		released <- true
	})
	if _, again := mem.Map(f, "path", 1<<62, 1<<62, false); !errors.Is(again, unix.ENOMEM) {
		t.Fatal(again)
	}
	select {
	case <-released:
	default:
		t.Fatal("nothing was given back")
	}
}
