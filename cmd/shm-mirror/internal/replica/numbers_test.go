package replica

import (
	"fmt"
	"testing"

	"example.org/shm"
)

// Numbers are there for whoever opens the segment next, however many there are.
func TestNumbersStay(t *testing.T) {
	path := t.TempDir() + "/segment"
	const keys = 1000
	open := func(prefix string) *numbers {
		s, err := shm.Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		n, err := openNumbers(s, prefix)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for round := range uint64(3) {
		n := open("a ")
		for i := range keys {
			x, err := n.of(fmt.Sprint("key ", i))
			if err != nil {
				t.Fatal(err)
			}
			want := uint64(i) + round
			if round == 0 {
				want = 0
			}
			if got := x.Load(); got != want {
				t.Errorf("round %d: the number of key %d is %d, want %d", round, i, got, want)
			}
			x.Store(uint64(i) + round + 1)
		}
		if got := n.get("key 7"); got != 8+round {
			t.Errorf("the number is %d", got)
		}
		if got := n.get("another"); got != 0 {
			t.Errorf("a key that was never asked for has the number %d", got)
		}
	}
	if n := open("b "); len(n.places) != 0 {
		t.Errorf("another prefix has %d numbers", len(n.places))
	}
	n := open("a ")
	n.forget()
	if got := open("a ").get("key 7"); got != 0 || len(n.places) != keys {
		t.Errorf("the number is %d, of %d", got, len(n.places))
	}
}
