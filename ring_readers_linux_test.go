package shm_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// telegram is 200 bytes.
type telegram struct {
	N, At int64 // its number, and when it was sent
	Pad   [184]byte
}

// telegramRound is how many telegrams are sent in a row, one a millisecond.
const telegramRound = 500

// telegramReader reads rounds of telegrams, as it is told: from the ring, all of them, or
// from the struct, those that it sees. It prints how many it saw, and how many nanoseconds
// each took.
var telegramReader = shmtest.Helper("telegramReader", func(args []string) error {
	t := shmtest.InHelper
	s := shmtest.Must(shm.Open(args[0], nil))(t)
	ring := shmtest.Must(shm.NewRing[telegram](s, "ring", 0))(t)
	one := shmtest.Must(shm.NewStruct(s, "struct", telegram{}))(t)
	return shmtest.Replies(func(words []string) (string, error) {
		r, last := ring.Reader(), one.Load().N
		fmt.Println("ready")
		var late []int64
		for {
			var m telegram
			var err error
			if words[0] == "ring" {
				var seq uint64
				m, seq, err = r.Next(t.Context())
				if err == nil && (m.N != last+int64(len(late))+1 || seq != uint64(m.N) || r.Missed() != 0) {
					err = fmt.Errorf("telegram %d is value %d, after %d of them from %d on; %d missed", m.N, seq, len(late), last, r.Missed())
				}
			} else {
				m, err = one.Await(t.Context(), func(m telegram) bool { return m.N != last })
				last = m.N
			}
			if err != nil {
				return "", err
			}
			late = append(late, sys.Monotonic()-m.At)
			if m.N%telegramRound == 0 {
				b, err := json.Marshal(late)
				return string(b), err
			}
		}
	})
})

// Five processes read a ring to which another appends 200 bytes 1,000 times a second. They
// miss nothing. How late they are is logged, beside processes that await a struct in turn.
func TestRingReaders(t *testing.T) {
	t.Parallel()
	const readers, rounds = 5, 2
	s := open(t, shmtest.Name(t), nil)
	ring := shmtest.Must(shm.NewRing[telegram](s, "ring", 8*telegramRound))(t)
	one := shmtest.Must(shm.NewStruct(s, "struct", telegram{}))(t)
	var all []*shmtest.Process
	for range readers {
		all = append(all, shmtest.Start(t, telegramReader, s.Name()))
	}
	late := map[string][]int64{}
	round := func(kind string, from int, send func(*telegram)) {
		for _, p := range all {
			p.Do(kind, "ready")
		}
		next := time.Now()
		for i := range telegramRound {
			next = next.Add(time.Millisecond)
			time.Sleep(time.Until(next))
			send(&telegram{N: int64(from + i + 1), At: sys.Monotonic()})
		}
		for _, p := range all {
			var some []int64
			if line := p.Line(); json.Unmarshal([]byte(line), &some) != nil {
				t.Fatalf("a reader printed %q", line)
			}
			if kind == "ring" && len(some) != telegramRound {
				t.Errorf("a reader has %d telegrams of %d", len(some), telegramRound)
			}
			late[kind] = append(late[kind], some...)
		}
	}
	for i := range rounds {
		round("ring", i*telegramRound, func(m *telegram) { ring.Append(*m) })
		round("struct", i*telegramRound, one.StoreFrom)
	}
	for _, kind := range []string{"ring", "struct"} {
		ns := late[kind]
		slices.Sort(ns)
		t.Logf("%s: %d of %d telegrams seen, median %v, 99 of 100 within %v", kind, len(ns), readers*rounds*telegramRound,
			time.Duration(ns[len(ns)/2]), time.Duration(ns[len(ns)*99/100]))
	}
}
