//go:build linux

package shm

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkTakeover is the time from kill -9 of a holder until another process
// has its lock: one that has been asleep for it for longer than 50 ms, from just
// before the kill; and one that comes when the dead one has been reaped, its call
// of Lock alone. Most of the first is the kernel's: who=exit is the time until it
// reports the end of such a process. An iteration starts a process: use
// -benchtime 200x.
func BenchmarkTakeover(b *testing.B) {
	dir := b.TempDir()
	holder := filepath.Join(dir, "holder")
	if out, err := exec.Command("go", "build", "-o", holder, "./testdata/holder").CombinedOutput(); err != nil {
		b.Skipf("the holder wants the go tool: %v\n%s", err, out)
	}
	for _, size := range []struct {
		name      string
		mebibytes int
	}{{"", 0}, {"/holder=512MiB", 512}} {
		b.Run("impl=kernel/who=exit"+size.name, func(b *testing.B) {
			reportTimes(b, func() time.Duration { return untilGone(b, startHolder(b, holder, size.mebibytes)) })
		})
		b.Run("impl=shm.Mutex/who=asleep"+size.name, func(b *testing.B) {
			name, v := locked(b)
			reportTimes(b, func() time.Duration { return untilWoken(b, v.Mutex(), startHolderOf(b, name, holder, size.mebibytes)) })
		})
	}
	b.Run("impl=shm.Mutex/who=late", func(b *testing.B) {
		name, _ := locked(b)
		late := start(b, latecomer, name)
		come := must(NewAtomic[uint32](open(b, name, nil), "come", 0))(b)
		reportTimes(b, func() time.Duration {
			late.expect("ready")
			p := startHolderOf(b, name, holder, 0)
			time.Sleep(2 * probeEvery) // or else the last death's probe stands for this one's
			p.kill()
			come.Add(1)
			return time.Duration(must(strconv.Atoi(late.line()))(b))
		})
	})
	b.Run("impl=c.robust", func(b *testing.B) {
		exe, err := buildRivals(b)
		if err != nil {
			b.Skip(err)
		}
		r := rival(b, exe, "robust", "kill", strconv.Itoa(max(b.N, 100)))
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

// startHolder starts a holder of a lock for which nobody waits.
func startHolder(b *testing.B, program string, mebibytes int) *process {
	b.Helper()
	name, _ := locked(b)
	return startHolderOf(b, name, program, mebibytes)
}

func startHolderOf(b *testing.B, name, program string, mebibytes int) *process {
	b.Helper()
	p := startProgram(b, exec.Command(program, name, strconv.Itoa(mebibytes)))
	p.expect("locked")
	return p
}

// untilGone kills a process and returns how long it then takes to end.
func untilGone(b *testing.B, p *process) time.Duration {
	b.Helper()
	fd, err := unix.PidfdOpen(p.cmd.Process.Pid, 0)
	if err != nil {
		b.Skip(err)
	}
	defer unix.Close(fd)
	time.Sleep(60 * time.Millisecond) // as the others do
	killed := time.Now()
	_ = p.cmd.Process.Kill()
	if err := retry(func() error {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		return err
	}); err != nil {
		b.Fatal(err)
	}
	gone := time.Since(killed)
	p.kill()
	return gone
}

// untilWoken kills the holder of a lock, and returns how long one who has been
// asleep for it then takes to have it.
func untilWoken(b *testing.B, mu *Mutex, holder *process) time.Duration {
	b.Helper()
	got := make(chan time.Time)
	go func() {
		mu.Lock()
		got <- time.Now()
	}()
	sleeping(b, mu, true)
	time.Sleep(60 * time.Millisecond)
	killed := time.Now()
	_ = holder.cmd.Process.Kill()
	took := (<-got).Sub(killed)
	mu.Unlock()
	holder.kill()
	return took
}

// latecomer is at work, and takes the lock of a dead holder each time that it is
// called: it prints the nanoseconds.
var latecomer = helper("latecomer", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := NewValue[int64](s, "n", 0)
	if err != nil {
		return err
	}
	come, err := NewAtomic[uint32](s, "come", 0)
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
