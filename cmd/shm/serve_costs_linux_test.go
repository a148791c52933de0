package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"github.com/chromedp/chromedp"
)

var costs = flag.Int("costs", 0, "measure a writer beside shm serve with a page open in so many `pairs` of runs")

// spin adds as fast as it can for a second whenever a line comes in, and prints how often it
// did, and how many nanoseconds of a processor it had.
func spin(_ *shm.Segment, b *board) error {
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var before, after syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
			return err
		}
		n := 0
		for end := time.Now().Add(time.Second); time.Now().Before(end); {
			for range 10_000 {
				b.Requests.Add(1)
			}
			n += 10_000
		}
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
			return err
		}
		fmt.Println(n, after.Utime.Nano()-before.Utime.Nano()+after.Stime.Nano()-before.Stime.Nano())
	}
	return nil
}

// TestServeCosts measures how fast a writer adds with a page of shm serve open, in relation
// to how fast it is while the server is stopped, in pairs that follow each other.
func TestServeCosts(t *testing.T) {
	if *costs == 0 {
		t.Skip("only with -costs 15")
	}
	seg := fixture(t)
	writer := exec.Command(os.Args[0], "-test.run=^$")
	writer.Env = append(os.Environ(), roleVariable+"=spin "+seg)
	in, err := writer.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = writer.Process.Kill()
		_ = writer.Wait()
	})
	lines := bufio.NewScanner(out)
	lines.Scan() // ready
	run := func() (rate, perCPU float64) {
		t.Helper()
		var n, cpu float64
		if _, err := fmt.Fprintln(in); err != nil || !lines.Scan() {
			t.Fatal("the writer has ended: ", err)
		}
		if _, err := fmt.Sscan(lines.Text(), &n, &cpu); err != nil {
			t.Fatal(err)
		}
		return n, n / cpu
	}
	b := openBrowser(t)
	for _, interval := range []string{"1s", "100ms"} {
		url, server, _ := serving(t, "-i", interval, seg)
		b.run(chromedp.Navigate(url))
		b.until("the rows", func(p shownPage) bool { return len(p.Rows) > 0 })
		var rates, perCPUs []float64
		used := time.Duration(0)
		for i := range *costs {
			var rate, perCPU [2]float64 // without, with
			for k := range 2 {
				with := (i + k) % 2 // so that neither is always the first
				if with == 0 {
					_ = server.Signal(syscall.SIGSTOP)
				}
				before := cpuOf(t, server.Pid)
				rate[with], perCPU[with] = run()
				used += cpuOf(t, server.Pid) - before
				_ = server.Signal(syscall.SIGCONT)
			}
			rates = append(rates, rate[1]/rate[0])
			perCPUs = append(perCPUs, perCPU[1]/perCPU[0])
		}
		slices.Sort(rates)
		slices.Sort(perCPUs)
		t.Logf("a frame every %s: %.3f of the additions (%.3f to %.3f), %.3f of those in a second of a processor; the server uses %.2f %% of a core",
			interval, rates[len(rates)/2], rates[0], rates[len(rates)-1], perCPUs[len(perCPUs)/2], used.Seconds()/float64(*costs)*100)
	}
}

// cpuOf returns how long a process has had a processor.
func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	total := time.Duration(0)
	for _, task := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, task.Name()))
		if err != nil {
			continue // the thread has ended
		}
		var ns int64
		if _, err := fmt.Sscan(string(b), &ns); err != nil {
			t.Fatal(err)
		}
		total += time.Duration(ns)
	}
	return total
}
