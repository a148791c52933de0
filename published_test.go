//go:build linux

package shm_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// published has fields that depend on each other.
type published struct {
	N     uint64
	Flags [5]bool
	A     [40]uint64
	Last  int8 // before tail padding
}

func (p *published) next() {
	p.N++
	for i := range p.Flags {
		p.Flags[i] = p.N>>i&1 == 1
	}
	for i := range p.A {
		p.A[i] = p.N * uint64(i+1)
	}
	p.Last = int8(p.N)
}

// whole reports whether all fields come from the same call of next.
func (p published) whole() bool {
	q := published{N: p.N - 1}
	q.next()
	return p == q || p == published{}
}

// page is several pages of one number.
type page struct{ A [2048]uint64 }

func (p *page) whole() bool {
	for _, x := range p.A {
		if x != p.A[0] {
			return false
		}
	}
	return true
}

const textCap = 200

func publishedText(n uint64) string {
	s := strconv.FormatUint(n, 10)
	return s + strings.Repeat(s[:1], int(n%(textCap-20)))
}

func wholeText(s string) bool {
	if s == "" {
		return true
	}
	for n := 1; n <= min(20, len(s)); n++ { // how many digits the number has, a reader does not know
		if x, err := strconv.ParseUint(s[:n], 10, 64); err == nil && publishedText(x) == s {
			return true
		}
	}
	return false
}

// board is what the processes of the storm share.
type board struct {
	Small shm.Struct[published]
	Large shm.Struct[page]
	Text  shm.String           `shm:",len=200"`
	Done  shm.RawArray[uint64] `shm:",len=16"` // the last commit of each writer
}

func attachBoard(name string, o *shm.Options) (b board, err error) {
	s, err := shm.Open(name, o)
	if err == nil {
		err = shm.Bind(s, &b)
	}
	return b, err
}

var publisher = shmtest.Helper("publisher", func(args []string) error {
	b, err := attachBoard(args[0], nil)
	if err != nil {
		return err
	}
	place, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	var large page
	for {
		var n uint64
		b.Small.Update(func(p *published) {
			p.next()
			n = p.N
		})
		b.Done.Set(place, n)
		x := rand.Uint64()
		for i := range large.A {
			large.A[i] = x
		}
		b.Large.Store(large)
		if err := b.Text.Store(publishedText(x >> (x % 60))); err != nil {
			return err
		}
	}
})

// checker loads until its standard input ends.
var checker = shmtest.Helper("checker", func(args []string) error {
	b, err := attachBoard(args[0], &shm.Options{ReadOnly: args[1] == "ro"})
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // whatever ends it
		close(ended)
	}()
	loads, before := 0, uint64(0)
	for ; ; loads++ {
		small, large, text := b.Small.Load(), b.Large.Load(), b.Text.Load()
		switch {
		case !small.whole():
			return fmt.Errorf("torn: %+v", small)
		case small.N < before:
			return fmt.Errorf("%d after %d", small.N, before)
		case !large.whole():
			return fmt.Errorf("torn: %v", large)
		case !wholeText(text):
			return fmt.Errorf("torn: %q", text)
		}
		before = small.N
		select {
		case <-ended:
			fmt.Println(loads)
			return nil
		default:
		}
	}
})

// TestPublishedStorm kills and stops writers at any instruction, while readers in other
// processes check everything that they load.
func TestPublishedStorm(t *testing.T) {
	name := shmtest.Name(t)
	b, err := attachBoard(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	const writers = 3
	var all [writers]*shmtest.Process
	for i := range all {
		all[i] = shmtest.Start(t, publisher, name, strconv.Itoa(i))
	}
	checkers := []*shmtest.Process{shmtest.Start(t, checker, name, "rw"), shmtest.Start(t, checker, name, "ro")}
	kills := 0
	for end := time.Now().Add(*shmtest.StormLength); time.Now().Before(end); kills++ {
		time.Sleep(time.Duration(rand.IntN(int(10 * time.Millisecond)))) // the rhythm of the storm, not synchronisation
		i := rand.IntN(writers)
		if rand.IntN(4) == 0 { // a reader cannot tell a stopped writer from a dead one
			if err := all[i].Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			for range 100 {
				if !b.Small.Load().whole() {
					t.Fatal("torn")
				}
			}
		}
		all[i].Kill()
		all[i] = shmtest.Start(t, publisher, name, strconv.Itoa(i))
	}
	for _, p := range all {
		p.Kill()
	}
	last, large, text := b.Small.Load(), b.Large.Load(), b.Text.Load()
	for _, p := range checkers {
		if err := p.Stdin.Close(); err != nil {
			t.Fatal(err)
		}
		t.Log(p.Line(), "loads")
		p.Wait()
	}
	// Whoever attaches now finds the last commit, and gets the lock.
	again, err := attachBoard(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	if again.Small.Load() != last || !last.whole() || again.Text.Load() != text || !wholeText(text) || !large.whole() {
		t.Fatal("the last value is not what it was")
	}
	for i, n := range b.Done.All() {
		if n > last.N {
			t.Fatalf("writer %d committed %d, and there is %d", i, n, last.N)
		}
	}
	b.Small.Update((*published).next)
	b.Large.Store(page{})
	if err := b.Text.Store(""); err != nil {
		t.Fatal(err)
	}
	if b.Small.Load().N != last.N+1 || b.Large.Load() != (page{}) || b.Text.Load() != "" {
		t.Fatal("the dead writers still block others")
	}
	t.Logf("%d kills, %d updates", kills+writers, last.N)
}
