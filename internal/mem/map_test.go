package mem_test

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"testing"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

func TestMapIsShared(t *testing.T) {
	f := file(t, 10)
	r, again, seen := region(t, f, false), region(t, f, false), region(t, f, true)
	if len(r.Bytes) != 10 {
		t.Fatalf("%d bytes", len(r.Bytes))
	}
	copy(r.Bytes, "0123456789")
	check(t, r.Flush(10))
	check(t, r.Flush(1))
	if string(again.Bytes) != "0123456789" || string(seen.Bytes) != "0123456789" || string(shmtest.Must(os.ReadFile(f.Name()))(t)) != "0123456789" {
		t.Fatal("what is written through one mapping is not seen by the others")
	}
}

// TestMapReservesMoreThanTheFileHas: a file that grows later is mapped already.
func TestMapReservesMoreThanTheFileHas(t *testing.T) {
	f := file(t, sys.PageSize)
	b := shmtest.Must(mem.Map(f, f.Name(), 4*sys.PageSize, sys.PageSize, false))(t)
	if int64(len(b)) != 4*sys.PageSize {
		t.Fatalf("%d bytes", len(b))
	}
	check(t, f.Truncate(4*sys.PageSize))
	b[len(b)-1] = 'x'
	check(t, mem.Unmap(b))
	if text := shmtest.Must(os.ReadFile(f.Name()))(t); text[len(text)-1] != 'x' {
		t.Fatal("it is another memory")
	}
}

func TestMapErrors(t *testing.T) {
	f := file(t, sys.PageSize)
	reader := shmtest.Opened(os.Open(f.Name()))(t)
	closed := file(t, 1)
	check(t, closed.Close())
	for what, c := range map[string]struct {
		f          *os.File
		size, need int64
		want       error // nil: any
	}{
		"writing by a reader": {reader, sys.PageSize, 1, fs.ErrPermission},
		"closed":              {closed, 1, 1, nil},
	} {
		b, err := mem.Map(c.f, "path", c.size, c.need, false)
		if b != nil || err == nil || c.want != nil && !errors.Is(err, c.want) || !shmtest.IsPathError(err, "path") {
			t.Errorf("%s: %d bytes, %v", what, len(b), err)
		}
	}
}

// TestMapWithoutAddressSpace: on 64-bit systems no mapping is larger than the
// address space of a process, and on 32-bit systems a size may be no int.
func TestMapWithoutAddressSpace(t *testing.T) {
	f := file(t, sys.PageSize)
	if math.MaxInt == math.MaxInt32 {
		b := shmtest.Must(mem.Map(f, f.Name(), 1<<40, sys.PageSize, false))(t)
		if len(b) != mem.SmallReserve {
			t.Errorf("%d bytes", len(b))
		}
		check(t, mem.Unmap(b))
		if b, err := mem.Map(f, "path", 1<<40, 1<<39, false); b != nil || !errors.Is(err, errs.Full) || !shmtest.IsPathError(err, "path") {
			t.Errorf("%d bytes, %v", len(b), err)
		}
		return
	}
	if b, err := mem.Map(f, "path", 1<<62, 1<<62, false); b != nil || err == nil || !shmtest.IsPathError(err, "path") {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}
