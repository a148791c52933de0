//go:build linux

package shm

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
)

// published has fields that check each other.
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

// whole reports whether all fields are of one next.
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
	for n := 1; n <= min(20, len(s)); n++ { // of the digits, which a reader does not know
		if x, err := strconv.ParseUint(s[:n], 10, 64); err == nil && publishedText(x) == s {
			return true
		}
	}
	return false
}

// board is what the processes of the storm share.
type board struct {
	Small Struct[published]
	Large Struct[page]
	Text  String           `shm:",len=200"`
	Done  RawArray[uint64] `shm:",len=16"` // the last commit of each writer
}

func attachBoard(name string, o *Options) (b board, err error) {
	s, err := Open(name, o)
	if err == nil {
		err = Bind(s, &b)
	}
	return b, err
}

var publisher = helper("publisher", func(args []string) error {
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
var checker = helper("checker", func(args []string) error {
	b, err := attachBoard(args[0], &Options{ReadOnly: args[1] == "ro"})
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

// TestPublishedStorm kills and stops writers at any instruction, while readers
// in other processes check everything they load.
func TestPublishedStorm(t *testing.T) {
	name := testName(t)
	b, err := attachBoard(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	const writers = 3
	var all [writers]*process
	for i := range all {
		all[i] = start(t, publisher, name, strconv.Itoa(i))
	}
	checkers := []*process{start(t, checker, name, "rw"), start(t, checker, name, "ro")}
	kills := 0
	for end := time.Now().Add(*stormLength); time.Now().Before(end); kills++ {
		time.Sleep(time.Duration(rand.IntN(int(10 * time.Millisecond)))) // a storm's own weather, not synchronisation
		i := rand.IntN(writers)
		if rand.IntN(4) == 0 { // dead, or only stopped: nobody who looks can tell
			if err := all[i].cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			for range 100 {
				if !b.Small.Load().whole() {
					t.Fatal("torn")
				}
			}
		}
		all[i].kill()
		all[i] = start(t, publisher, name, strconv.Itoa(i))
	}
	for _, p := range all {
		p.kill()
	}
	last, large, text := b.Small.Load(), b.Large.Load(), b.Text.Load()
	for _, p := range checkers {
		if err := p.stdin.Close(); err != nil {
			t.Fatal(err)
		}
		t.Log(p.line(), "loads")
		p.wait()
	}
	// What was committed last is there for who comes now, as is the lock.
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
		t.Fatal("the dead are still in the way")
	}
	t.Logf("%d kills, %d updates", kills+writers, last.N)
}
