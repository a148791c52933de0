//go:build linux

package shm_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"example.org/shm"
	"example.org/shm/internal/directory"
	"example.org/shm/internal/format"
	"example.org/shm/internal/lease"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// bare makes, or attaches to, a file in shared memory with as few system calls as
// that takes.
func bare(b *testing.B, path string, create bool) {
	flags := unix.O_RDWR | unix.O_CLOEXEC
	if create {
		flags |= unix.O_CREAT | unix.O_EXCL
	}
	fd, err := unix.Open(path, flags, 0o600)
	if err == nil && create {
		err = unix.Fallocate(fd, 0, 0, format.FirstAllocation)
	}
	if err != nil {
		b.Fatal(err)
	}
	mem, err := unix.Mmap(fd, 0, format.FirstAllocation, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
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

// BenchmarkOpen makes, or attaches to, a segment and closes it, beside the bare system
// calls.
func BenchmarkOpen(b *testing.B) {
	name := shmtest.Name(b)
	b.Run("op=create/impl=shm", func(b *testing.B) {
		for b.Loop() {
			s, err := shm.Open(name, &shm.Options{Exclusive: true})
			if err != nil {
				b.Fatal(err)
			}
			_ = s.Close()
			_ = shm.Remove(name)
		}
	})
	b.Run("op=create/impl=syscalls", func(b *testing.B) {
		for b.Loop() {
			bare(b, shm.Path(name), true)
			_ = shm.Remove(name)
		}
	})
	// Two attachments share one mapping, so each attaches to another segment. Between
	// two rounds the garbage collector unmaps them all, while the clock is stopped.
	names := make([]string, 500)
	for i := range names {
		names[i] = shmtest.Name(b)
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
			s, err := shm.Open(name, &shm.Options{MustExist: true})
			if err != nil {
				b.Fatal(err)
			}
			_ = s.Close()
		})
	})
	b.Run("op=attach/impl=syscalls", func(b *testing.B) {
		attachAll(b, func(name string) { bare(b, shm.Path(name), false) })
	})
}

// directorySizes are how many values a segment has. The cost of one must not depend on
// that.
var directorySizes = []int{1_000, 100_000}

// BenchmarkNamesMake makes n values in a new segment. One op is one value.
func BenchmarkNamesMake(b *testing.B) {
	for _, n := range directorySizes {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			names := benchNames(n)
			b.ReportAllocs()
			var s *shm.Segment
			for i := 0; b.Loop(); i++ {
				if i%n == 0 {
					b.StopTimer()
					s = open(b, shmtest.Name(b), nil)
					b.StartTimer()
				}
				if _, err := shm.NewRawValue(s, names[i%n], int64(i)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkNamesOpen reads the directory of a segment with n values, as Open does. One
// op is one value.
func BenchmarkNamesOpen(b *testing.B) {
	for _, n := range directorySizes {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			s := open(b, shmtest.Name(b), nil)
			nameValues(b, s, 0, n)
			memory := agent.Map(b, s)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%n == 0 {
					var d directory.Directory
					d.Init(memory, agent.HeaderOf(memory), new(lease.Owner))
					if err := d.Read(s.File()); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkNamesAttach attaches to one of n values at random, beside a lookup in a Go
// map. The names that it asks for lie in memory in that order, so that to read them
// costs nothing.
func BenchmarkNamesAttach(b *testing.B) {
	for _, n := range directorySizes {
		asked := make([]string, n)
		for i, j := range rand.Perm(n) {
			asked[i] = valueName(j)
		}
		b.Run(fmt.Sprintf("impl=shm/n=%d", n), func(b *testing.B) {
			s := open(b, shmtest.Name(b), nil)
			nameValues(b, s, 0, n)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := shm.NewRawValue(s, asked[i%n], int64(0)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("impl=map/n=%d", n), func(b *testing.B) {
			all := map[string]*int64{}
			for _, name := range benchNames(n) {
				all[name] = new(int64)
			}
			for i := 0; b.Loop(); i++ {
				if all[asked[i%n]] == nil {
					b.Fatal("missing")
				}
			}
		})
	}
}

func benchNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = valueName(i)
	}
	return names
}
