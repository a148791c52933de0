//go:build linux

package shm_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// BenchmarkTakeover is the time from kill -9 of a holder until another process has its
// lock. For who=asleep the other process has slept for the lock for more than 50 ms,
// and the time starts just before the kill. For who=late it comes when the dead process
// has been waited for, and the time is that of its call of Lock. Most of the first is
// the kernel's: who=exit is the time until the kernel reports the end of the process.
// An iteration starts a process: use -benchtime 200x.
func BenchmarkTakeover(b *testing.B) {
	holder := shmtest.GoProgram(b, "./testdata/holder")
	for _, size := range []struct {
		name      string
		mebibytes int
	}{{"", 0}, {"/holder=512MiB", 512}} {
		b.Run("impl=kernel/who=exit"+size.name, func(b *testing.B) {
			reportTimes(b, func() time.Duration {
				s, _ := agent.Locked(b)
				return untilGone(b, startHolder(b, s, holder, size.mebibytes))
			})
		})
		b.Run("impl=shm.Mutex/who=asleep"+size.name, func(b *testing.B) {
			s, v := agent.Locked(b)
			cell := agent.Cell(b, s, "n")
			reportTimes(b, func() time.Duration {
				return untilWoken(b, v.Mutex(), cell, startHolder(b, s, holder, size.mebibytes))
			})
		})
	}
	b.Run("impl=shm.Mutex/who=late", func(b *testing.B) {
		s, _ := agent.Locked(b)
		late := shmtest.Start(b, latecomer, s.Name())
		come := shmtest.Must(shm.NewAtomic[uint32](s, "come", 0))(b)
		reportTimes(b, func() time.Duration {
			late.Expect("ready")
			p := startHolder(b, s, holder, 0)
			time.Sleep(10 * time.Millisecond) // longer than a probe of an owner counts: the last death's must not stand for this one's
			p.Kill()
			come.Add(1)
			return time.Duration(shmtest.Must(strconv.Atoi(late.Line()))(b))
		})
	})
	b.Run("impl=c.robust", func(b *testing.B) {
		r := rival(b, "robust", "kill", strconv.Itoa(max(b.N, 100)))
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(r.AsleepMedian/1e3, "µs-asleep-median")
		b.ReportMetric(r.AsleepP99/1e3, "µs-asleep-p99")
		b.ReportMetric(r.LateMedian/1e3, "µs-late-median")
		b.ReportMetric(r.LateP99/1e3, "µs-late-p99")
	})
}

// reportTimes reports the median, the 99th percentile and the worst of b.N times.
func reportTimes(b *testing.B, one func() time.Duration) {
	b.Helper()
	var all []time.Duration
	for range b.N {
		all = append(all, one())
	}
	slices.Sort(all)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(all[len(all)/2].Nanoseconds())/1e3, "µs-median")
	b.ReportMetric(float64(all[len(all)*99/100].Nanoseconds())/1e3, "µs-p99")
	b.ReportMetric(float64(all[len(all)-1].Nanoseconds())/1e3, "µs-worst")
}

// startHolder starts the program that holds the lock of a segment, and so much memory.
func startHolder(b *testing.B, s *shm.Segment, program string, mebibytes int) *shmtest.Process {
	b.Helper()
	p := shmtest.StartProgram(b, exec.Command(program, s.Name(), strconv.Itoa(mebibytes)))
	p.Expect("locked")
	return p
}

// untilGone kills a process and returns how long it then takes to end.
func untilGone(b *testing.B, p *shmtest.Process) time.Duration {
	b.Helper()
	fd, err := unix.PidfdOpen(p.Pid(), 0)
	if err != nil {
		b.Skip(err)
	}
	defer unix.Close(fd)
	time.Sleep(60 * time.Millisecond) // as untilWoken does
	killed := time.Now()
	_ = p.Cmd.Process.Kill()
	for err = unix.EINTR; err == unix.EINTR; {
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
	}
	if err != nil {
		b.Fatal(err)
	}
	gone := time.Since(killed)
	p.Kill()
	return gone
}

// untilWoken kills the holder of a lock, and returns how long a goroutine that has
// slept for the lock then takes to get it.
func untilWoken(b *testing.B, mu *shm.Mutex, cell *format.LockCell, holder *shmtest.Process) time.Duration {
	b.Helper()
	got := make(chan time.Time)
	go func() {
		mu.Lock()
		got <- time.Now()
	}()
	agent.Sleeping(b, cell, true)
	time.Sleep(60 * time.Millisecond)
	killed := time.Now()
	_ = holder.Cmd.Process.Kill()
	took := (<-got).Sub(killed)
	mu.Unlock()
	holder.Kill()
	return took
}

// latecomer takes the lock of a dead holder each time that it is called, and prints
// how many nanoseconds that took.
var latecomer = shmtest.Helper("latecomer", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := shm.NewValue[int64](s, "n", 0)
	if err != nil {
		return err
	}
	come, err := shm.NewAtomic[uint32](s, "come", 0)
	if err != nil {
		return err
	}
	v.Add(1)
	out := bufio.NewWriter(os.Stdout)
	for calls := uint32(1); ; calls++ {
		fmt.Fprintln(out, "ready")
		if err := out.Flush(); err != nil {
			return err
		}
		for come.Load() != calls {
		}
		begin := time.Now()
		v.Mutex().Lock()
		took := time.Since(begin)
		v.Mutex().Unlock()
		fmt.Fprintln(out, took.Nanoseconds())
	}
})

// BenchmarkPingPong is two goroutines that hand a token to and fro: alone, and beside
// many that wait for the locks of a stopped process.
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
			s, _ := agent.Locked(b)
			holder := agent.Start(b, s.Name())
			holder.Do(fmt.Sprint("lockAll ", crowd.locks), "locked")
			holder.Stop()
			done := make(chan struct{})
			for i := range crowd.goroutines {
				mu := shmtest.Must(shm.NewMutex(s, fmt.Sprint("mutex", i%crowd.locks)))(b)
				go func() {
					mu.Lock()
					//lint:ignore SA2001 that it can be taken is what is tested
					mu.Unlock()
					done <- struct{}{}
				}()
			}
			for i := range crowd.locks {
				agent.Sleeping(b, agent.Cell(b, s, fmt.Sprint("mutex", i)), true)
			}
			pingPong(b)
			holder.Kill()
			for range crowd.goroutines {
				<-done
			}
		})
	}
}
