//go:build linux

package shm

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// BenchmarkTakeover is the time from kill -9 of a holder until another process
// has its lock: one that has been asleep for it for longer than 50 ms, from just
// before the kill; and one that comes when the dead one has been reaped, its call
// of Lock alone. A holder of much memory is known to be dead when the kernel has
// given that back. An iteration starts a process: use -benchtime 200x.
func BenchmarkTakeover(b *testing.B) {
	report := func(b *testing.B, all []time.Duration) {
		slices.Sort(all)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(all[len(all)/2].Nanoseconds())/1e3, "µs-median")
		b.ReportMetric(float64(all[len(all)*99/100].Nanoseconds())/1e3, "µs-p99")
		b.ReportMetric(float64(all[len(all)-1].Nanoseconds())/1e3, "µs-worst")
	}
	asleep := func(b *testing.B, mebibytes int) {
		name, v := locked(b)
		var all []time.Duration
		for range b.N {
			holder := startAgent(b, name)
			holder.must(fmt.Sprint("eat ", mebibytes), "full")
			holder.must("lock", "locked")
			got := make(chan time.Time)
			go func() {
				v.Mutex().Lock()
				got <- time.Now()
			}()
			sleeping(b, v.Mutex(), true)
			time.Sleep(60 * time.Millisecond)
			killed := time.Now()
			_ = holder.cmd.Process.Kill()
			all = append(all, (<-got).Sub(killed))
			v.Mutex().Unlock()
			holder.kill()
		}
		report(b, all)
	}
	b.Run("impl=shm.Mutex/who=asleep", func(b *testing.B) { asleep(b, 0) })
	b.Run("impl=shm.Mutex/who=asleep/holder=512MiB", func(b *testing.B) { asleep(b, 512) })
	b.Run("impl=shm.Mutex/who=late", func(b *testing.B) {
		name, v := locked(b)
		var all []time.Duration
		for range b.N {
			holder := startAgent(b, name)
			holder.must("lock", "locked")
			holder.kill()
			for t := time.Now(); time.Since(t) < 5*time.Millisecond; { // at work, and not just woken
			}
			begin := time.Now()
			v.Mutex().Lock()
			all = append(all, time.Since(begin))
			v.Mutex().Unlock()
		}
		report(b, all)
	})
}
