//go:build linux

package shm

import (
	"fmt"
	"testing"
)

// BenchmarkPingPong is two goroutines that hand a token to and fro, alone and
// beside a crowd that waits for the locks of a stopped process.
func BenchmarkPingPong(b *testing.B) {
	pingPong := func(b *testing.B) {
		ping, pong := make(chan int), make(chan int)
		go func() {
			for x := range ping {
				pong <- x
			}
			close(pong)
		}()
		for b.Loop() {
			ping <- 1
			<-pong
		}
		close(ping)
		<-pong
	}
	b.Run("waiting=none", pingPong)
	for _, crowd := range []struct{ goroutines, locks int }{{20_000, 1}, {1000, 1000}} {
		b.Run(fmt.Sprintf("waiting=%d/locks=%d", crowd.goroutines, crowd.locks), func(b *testing.B) {
			name, _ := locked(b)
			s := open(b, name, nil)
			holder := startAgent(b, name)
			holder.must(fmt.Sprint("lockAll ", crowd.locks), "locked")
			holder.stop()
			done := make(chan struct{})
			for i := range crowd.goroutines {
				mu := must(NewMutex(s, fmt.Sprint("mutex", i%crowd.locks)))(b)
				go func() {
					mu.Lock()
					//lint:ignore SA2001 that it can be taken is what is tested
					mu.Unlock()
					done <- struct{}{}
				}()
			}
			for i := range crowd.locks {
				sleeping(b, must(NewMutex(s, fmt.Sprint("mutex", i)))(b), true)
			}
			pingPong(b)
			holder.kill()
			for range crowd.goroutines {
				<-done
			}
		})
	}
}
