//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"

	"example.org/shm"
	"golang.org/x/sys/unix"
)

// bare does what making or attaching to a segment comes to, in as few system
// calls as there can be.
func bare(path string, size int, create bool) {
	flags := unix.O_RDWR | unix.O_CLOEXEC
	if create {
		flags |= unix.O_CREAT | unix.O_EXCL
	}
	fd := must(unix.Open(path, flags, 0o600))
	if create {
		check(unix.Fallocate(fd, 0, 0, int64(size)))
	}
	mem := must(unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED))
	if create {
		mem[0] = 1
	} else {
		sink += int64(mem[0])
	}
	check(unix.Munmap(mem))
	check(unix.Close(fd))
}

var named int // how many names this process has drawn

// name returns the name of a segment, which is removed when the comparison is done.
func (b *bed) name() string {
	named++
	name := fmt.Sprintf("shm-ratios-%d-%d", os.Getpid(), named)
	remove := func() { _ = shm.Remove(name) } // it may have been removed, or never made
	b.onClose(remove)
	atExit(remove)
	return name
}

// open opens a segment, or makes it.
func (b *bed) open(name string) *shm.Segment {
	s := must(shm.Open(name, nil))
	b.onClose(func() { _ = s.Close() })
	return s
}

// unmapped lets the collector unmap what closed segments have mapped. Its cleanups
// run after the collection.
func unmapped() {
	runtime.GC()
	runtime.GC()
}

var segments = []comparison{
	{
		name: "Open, a new segment", ours: "Open, Close and Remove of a new segment", rival: "the bare system calls", target: 3, pairs: 101,
		loops: func(b *bed) (ours, rival loop) {
			b.batch, b.between = 20, unmapped
			name, size := b.name(), int(b.segment.Size())
			return func(n int) {
					for range n {
						check(must(shm.Open(name, &shm.Options{Exclusive: true})).Close())
						check(shm.Remove(name))
					}
				}, func(n int) {
					for range n {
						bare(shm.Path(name), size, true)
						check(shm.Remove(name))
					}
				}
		},
	}, {
		name: "Open, a segment that is there", ours: "Open and Close of a segment that is there; the collector unmaps it later", rival: "the bare system calls", target: 3, pairs: 101,
		loops: func(b *bed) (ours, rival loop) {
			// Two attachments to a segment share one mapping, so each is to another.
			b.batch, b.between = 100, unmapped
			all := make([]string, b.batch)
			for i := range all {
				all[i] = b.name()
				check(must(shm.Open(all[i], nil)).Close())
			}
			size := int(b.segment.Size())
			return func(n int) {
					for i := range n {
						check(must(shm.Open(all[i], &shm.Options{MustExist: true})).Close())
					}
				}, func(n int) {
					for i := range n {
						bare(shm.Path(all[i]), size, false)
					}
				}
		},
	},
}

// few and many are how many values a segment has: what one costs must not depend
// on it.
const (
	few  = 1000
	many = 100_000
)

func valueName(i int) string { return fmt.Sprintf("value/%06d", i) }

// fill makes n values.
func fill(s *shm.Segment, n int) {
	for i := range n {
		must(shm.NewRawValue(s, valueName(i), int64(i)))
	}
}

// shuffled returns the names of n values in a random order. They lie in that order
// in memory, so that reading them costs nothing.
func shuffled(n int) []string {
	all := make([]string, n)
	for i, j := range rand.Perm(n) {
		all[i] = valueName(j)
	}
	return all
}

// attach attaches to values, one after another.
func attach(s *shm.Segment, names []string) loop {
	at := 0
	return func(n int) {
		for range n {
			must(shm.NewRawValue(s, names[at], int64(0)))
			if at++; at == len(names) {
				at = 0
			}
		}
	}
}

var names = []comparison{
	{
		name: "NewRawValue, attaching to one of 100,000", rival: "a lookup in a Go map", long: true,
		loops: func(b *bed) (ours, rival loop) {
			fill(b.segment, many)
			asked, all := shuffled(many), map[string]*int64{}
			for _, name := range asked {
				all[name] = new(int64)
			}
			at := 0
			return attach(b.segment, asked), func(n int) {
				for range n {
					sink += *all[asked[at]]
					if at++; at == len(asked) {
						at = 0
					}
				}
			}
		},
	}, {
		name: "NewRawValue, making one of 100,000", rival: "making one of 1,000", target: 2, long: true, pairs: 7,
		loops: func(b *bed) (ours, rival loop) {
			b.batch, b.between = many, unmapped
			return func(n int) {
					s := must(shm.Anonymous(nil))
					fill(s, n)
					check(s.Close())
				}, func(n int) {
					for range n / few {
						s := must(shm.Anonymous(nil))
						fill(s, few)
						check(s.Close())
					}
				}
		},
	}, {
		name: "Open, for each of 100,000 values", rival: "for each of 1,000 values", target: 2, long: true, pairs: 15,
		loops: func(b *bed) (ours, rival loop) {
			b.batch, b.between = many, unmapped
			large, small := b.name(), make([]string, many/few)
			make1 := func(name string, n int) {
				s := must(shm.Open(name, nil))
				fill(s, n)
				check(s.Close())
			}
			make1(large, many)
			for i := range small {
				small[i] = b.name()
				make1(small[i], few)
			}
			return func(int) {
					check(must(shm.Open(large, nil)).Close())
				}, func(int) {
					for _, name := range small {
						check(must(shm.Open(name, nil)).Close())
					}
				}
		},
	},
}
