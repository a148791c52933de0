package sys_test

import (
	"testing"
	"testing/synctest"
	"time"

	"example.org/shm/internal/sys"
)

// A bubble has a clock of its own, and the system's is the same inside.
func TestClockInABubble(t *testing.T) {
	if now, bubbled := sys.Clock(); bubbled || sys.Bubble() != 0 || now <= 0 {
		t.Fatalf("outside: %d, %v, bubble %d", now, bubbled, sys.Bubble())
	}
	var ids []uint64
	for range 2 {
		before := sys.Monotonic()
		synctest.Test(t, func(t *testing.T) {
			for _, d := range []time.Duration{0, time.Nanosecond, time.Hour, 20 * 365 * 24 * time.Hour} {
				time.Sleep(d)
				if now, bubbled := sys.Clock(); !bubbled || now < before || now > before+int64(time.Minute) {
					t.Errorf("after %v: %d, %d before, %v", d, now, before, bubbled)
				}
			}
			id := sys.Bubble()
			go func() {
				if again := sys.Bubble(); again != id || id == sys.UnknownBubble || id == 0 {
					t.Errorf("two goroutines of a bubble are in %d and %d", id, again)
				}
			}()
			ids = append(ids, id)
			start, fake := sys.Monotonic(), time.Now()
			sys.Pause(2 * time.Millisecond)
			if d := sys.Monotonic() - start; d < int64(time.Millisecond) || !time.Now().Equal(fake) {
				t.Errorf("a pause of %v, and the bubble's clock went on by %v", time.Duration(d), time.Since(fake))
			}
		})
	}
	if ids[0] == ids[1] {
		t.Errorf("two bubbles are called %d", ids[0])
	}
}
