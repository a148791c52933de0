package surroundings_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// paged takes pages to have another size than the kernel's. A larger size is a multiple
// of the kernel's, so the kernel takes what suits the larger one. Its arguments are the
// size and the path of a segment, which it opens or makes. It answers:
//
//	add PREFIX N: adds arrays
//	fill PREFIX: adds arrays until the segment is full, and prints how many
//	check PREFIX N: looks at arrays that this or another process has added
//	size: what the segment has allocated
var paged = shmtest.Helper("paged", func(args []string) error {
	page, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return err
	}
	sys.PageSize = page
	s, err := shm.Open(args[1], &shm.Options{MaxSize: oddSize})
	if err != nil {
		return err
	}
	arrays := func(words []string, length int, do func(a shm.RawArray[uint64], i int) error) (string, error) {
		n, err := strconv.Atoi(words[2])
		for i := 0; i < n && err == nil; i++ {
			var a shm.RawArray[uint64]
			if a, err = shm.NewRawArray[uint64](s, fmt.Sprint(words[1], i), length); err == nil {
				err = do(a, i)
			}
		}
		return "done", err
	}
	return shmtest.Replies(func(words []string) (string, error) {
		switch words[0] {
		case "add":
			return arrays(words, 100, func(a shm.RawArray[uint64], i int) error {
				for at := range a.Len() {
					a.Set(at, uint64(i))
				}
				return nil
			})
		case "check":
			return arrays(words, 0, func(a shm.RawArray[uint64], i int) error {
				for at, x := range a.All() {
					if x != uint64(i) {
						return fmt.Errorf("element %d of array %s%d is %d", at, words[1], i, x)
					}
				}
				return nil
			})
		case "fill":
			n, err := fillSegment(s, words[1])
			if !errors.Is(err, shm.ErrFull) {
				return "", err
			}
			return fmt.Sprint(n), nil
		case "size":
			return fmt.Sprint(s.Size()), nil
		}
		return "", fmt.Errorf("no command %q", words[0])
	})
})

// oddSize is no multiple of a page, of any system. A system with pages of 4 KiB makes it
// 1 MiB and 8 KiB, which is no multiple of larger pages either.
const oddSize = 1<<20 + 4097

// A segment is made, grows and is filled to its end, whatever the size of pages, in memory
// and in a directory. A process with other pages attaches to it and does the same, which
// shows more than systems need: all processes of a kernel have the same pages, and only a
// file that was copied comes from a system with others.
func TestPageSizes(t *testing.T) {
	sizes := []int64{sys.PageSize}
	for _, size := range []int64{16 << 10, 64 << 10} {
		if size > sys.PageSize {
			sizes = append(sizes, size)
		}
	}
	for _, made := range sizes {
		for _, attached := range sizes {
			t.Run(fmt.Sprintf("%d,%d", made, attached), func(t *testing.T) {
				largest := (oddSize + made - 1) / made * made
				for _, path := range []string{shmtest.Name(t), filepath.Join(t.TempDir(), "segment")} {
					maker := shmtest.Start(t, paged, fmt.Sprint(made), path)
					maker.Do("add a 200", "done")
					other := shmtest.Start(t, paged, fmt.Sprint(attached), path)
					other.Do("check a 200", "done")
					n := other.Ask("fill b")
					if count, err := strconv.Atoi(n); err != nil || count < 800 {
						t.Fatalf("%s arrays were added until the segment was full", n)
					}
					maker.Do("check b "+n, "done")
					for _, p := range []*shmtest.Process{maker, other} {
						if got := p.Ask("size"); got != fmt.Sprint(largest) {
							t.Errorf("a full segment has %s bytes, want %d", got, largest)
						}
					}
					maker.Kill()
					other.Kill()
					last := shmtest.Start(t, paged, fmt.Sprint(attached), path)
					last.Do("check a 200", "done")
					last.Do("check b "+n, "done")
					last.Kill()
				}
			})
		}
	}
}
