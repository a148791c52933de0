//go:build linux

package shm

import (
	"fmt"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// bare does what making or attaching to a segment comes to in calls of the
// system, in as few as there can be.
func bare(b *testing.B, path string, create bool) {
	flags := unix.O_RDWR | unix.O_CLOEXEC
	if create {
		flags |= unix.O_CREAT | unix.O_EXCL
	}
	fd, err := unix.Open(path, flags, 0o600)
	if err == nil && create {
		err = unix.Fallocate(fd, 0, 0, firstAllocation)
	}
	if err != nil {
		b.Fatal(err)
	}
	mem, err := unix.Mmap(fd, 0, firstAllocation, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		b.Fatal(err)
	}
	if create {
		mem[0] = 1
	} else {
		sink += int64(mem[0])
	}
	if err := unix.Munmap(mem); err != nil {
		b.Fatal(err)
	}
	if err := unix.Close(fd); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkOpen makes, or attaches to, a segment and closes it, beside the bare
// calls of the system.
func BenchmarkOpen(b *testing.B) {
	name := testName(b)
	b.Run("op=create/impl=shm", func(b *testing.B) {
		for b.Loop() {
			s, err := Open(name, &Options{Exclusive: true})
			if err != nil {
				b.Fatal(err)
			}
			_ = s.Close()
			_ = Remove(name)
		}
	})
	b.Run("op=create/impl=syscalls", func(b *testing.B) {
		for b.Loop() {
			bare(b, Path(name), true)
			_ = Remove(name)
		}
	})
	// Attaching twice shares one mapping, so each attach is to another segment,
	// and the collector unmaps them all between two rounds, off the clock.
	names := make([]string, 500)
	for i := range names {
		names[i] = testName(b)
		_ = open(b, names[i], nil).Close()
	}
	attachAll := func(b *testing.B, attach func(name string)) {
		for i := range b.N {
			if i%len(names) == 0 {
				b.StopTimer()
				runtime.GC()
				runtime.GC()
				b.StartTimer()
			}
			attach(names[i%len(names)])
		}
	}
	b.Run("op=attach/impl=shm", func(b *testing.B) {
		attachAll(b, func(name string) {
			s, err := Open(name, &Options{MustExist: true})
			if err != nil {
				b.Fatal(err)
			}
			_ = s.Close()
		})
	})
	b.Run("op=attach/impl=syscalls", func(b *testing.B) {
		attachAll(b, func(name string) { bare(b, Path(name), false) })
	})
}

var plain = new(int64)

// BenchmarkRaw is unsynchronised access beside a plain pointer and slice.
func BenchmarkRaw(b *testing.B) {
	s := benchSegment(b)
	v := must(NewRawValue[int64](s, "v", 0))(b)
	const n = 4096
	a := must(NewRawArray[float64](s, "a", n))(b)
	p := plain // on the heap: a register would be another thing
	b.Run("op=Get/impl=shm.RawValue", func(b *testing.B) {
		var sum int64
		for range b.N {
			sum += v.Get()
		}
		sink = sum
	})
	b.Run("op=Get/impl=pointer", func(b *testing.B) {
		var sum int64
		for range b.N {
			sum += *p
		}
		sink = sum
	})
	b.Run("op=Set/impl=shm.RawValue", func(b *testing.B) {
		for i := range b.N {
			v.Set(int64(i))
		}
	})
	b.Run("op=Set/impl=pointer", func(b *testing.B) {
		for i := range b.N {
			*p = int64(i)
		}
	})
	for _, impl := range []string{"shm.RawArray", "slice"} {
		x := a.Slice()
		if impl == "slice" {
			x = make([]float64, n)
		}
		b.Run(fmt.Sprintf("op=Sum%d/impl=%s", n, impl), func(b *testing.B) {
			var sum float64
			for range b.N {
				for _, y := range x {
					sum += y
				}
			}
			sink = int64(sum)
		})
	}
	b.Run(fmt.Sprintf("op=SumGet%d/impl=shm.RawArray", n), func(b *testing.B) {
		var sum float64
		for range b.N {
			for i := range a.Len() {
				sum += a.Get(i)
			}
		}
		sink = int64(sum)
	})
}
