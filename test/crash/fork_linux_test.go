package crash_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
	"golang.org/x/sys/unix"
)

// A Go program takes some milliseconds to start, and a storm of many kills has no use for
// that. So one process forks the victims: each is a copy of it, which attaches by itself
// and works until it is killed. Go has no fork, because a copy has only the thread that
// called it. The forker and its copies need no other: they run on one processor of Go's
// scheduler, collect no garbage, and nothing that they call waits for a second goroutine.

// account is what a victim notes of itself, in memory that it shares with its forker. Its
// successor goes on with it.
type account struct {
	Began atomic.Int64 // operations, before each
	Done  atomic.Int64 // operations, after each
	_     [48]byte
}

// work is what a victim does: it returns an operation, which gets the number of each call,
// counted over all victims of that place.
type work func(s *shm.Segment, place int) (operate func(n int64), err error)

var works = map[string]work{"cells": countInCells, "lock": addUnderLock, "ring": appendToRing}

// forker keeps some victims alive and kills one of them after the other, at random. Its
// arguments are the segment, what the victims do, and how many there are. Now and then it
// kills all of them, prints a bill, and waits for a line.
var forker = shmtest.Helper("forker", func(args []string) error {
	const between = time.Second // two bills
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1)
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	shared, err := unix.Mmap(-1, 0, n*64, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	accounts := mem.Slice[account](&mem.Region{Bytes: shared}, 0, n)
	victims := make([]forked, n)
	var b bill
	random := uint64(os.Getpid())
	for {
		for end := time.Now().Add(between); time.Now().Before(end); {
			random = random*6364136223846793005 + 1442695040888963407
			i := int(random>>33) % n
			if v := &victims[i]; v.pid != 0 && accounts[i].Began.Load() == v.began && random>>60 != 0 {
				_ = unix.Nanosleep(&unix.Timespec{Nsec: 50_000}, nil) // A signal may cut it short.
				continue                                              // Most victims are killed once they work.
			}
			if err := victims[i].kill(&accounts[i], &b); err != nil {
				return err
			}
			if err := victims[i].fork(&accounts[i], works[args[1]], args[0], i); err != nil {
				return err
			}
		}
		b.Began, b.Done = 0, 0
		for i := range victims {
			if err := victims[i].kill(&accounts[i], &b); err != nil {
				return err
			}
			b.Began += accounts[i].Began.Load()
			b.Done += accounts[i].Done.Load()
		}
		fmt.Println(b.Kills, b.Working, b.Inside, b.Began, b.Done)
		var answer string
		if _, err := fmt.Scanln(&answer); err != nil || answer != "on" {
			return nil
		}
	}
})

// bill is what a forker has counted.
type bill struct {
	Kills   int64
	Working int64 // of them, in a victim that had begun an operation
	Inside  int64 // of those, inside an operation
	Began   int64 // operations of all victims
	Done    int64 // of those, that returned
}

type forked struct{ pid, began, missing int64 }

// fork starts a victim.
func (v *forked) fork(a *account, do work, segment string, place int) error {
	v.began = a.Began.Load()
	v.missing = v.began - a.Done.Load()
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("clone", errno)
	}
	if pid == 0 {
		fmt.Fprintln(os.Stderr, "victim:", suffer(a, do, segment, place))
		unix.Exit(1)
	}
	v.pid = int64(pid)
	return nil
}

// suffer works until it is killed.
func suffer(a *account, do work, segment string, place int) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	s, err := shm.Open(segment, agent.Modest)
	if err != nil {
		return err
	}
	operate, err := do(s, place)
	if err != nil {
		return err
	}
	for n := a.Began.Load() + 1; ; n++ {
		a.Began.Store(n)
		operate(n)
		a.Done.Add(1)
	}
}

// kill kills the victim, if there is one, and adds the kill to the bill.
func (v *forked) kill(a *account, b *bill) error {
	if v.pid == 0 {
		return nil
	}
	if err := unix.Kill(int(v.pid), unix.SIGKILL); err != nil {
		return os.NewSyscallError("kill", err)
	}
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(int(v.pid), &status, 0, nil)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return os.NewSyscallError("wait4", err)
		}
	}
	if status.Signal() != unix.SIGKILL {
		return errors.New("a victim ended by itself")
	}
	v.pid = 0
	b.Kills++
	if began := a.Began.Load(); began > v.began {
		b.Working++
		if began-a.Done.Load() > v.missing {
			b.Inside++
		}
	}
	return nil
}

// storm has victims killed for the length of a storm. At each bill, when no victim lives,
// it calls check.
func storm(t *testing.T, s *shm.Segment, work string, victims int, check func(b bill)) {
	t.Helper()
	if race.Enabled || os.Getenv("SHM_TEST_RUNNER") != "" || runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skip("only a plain Go program can be forked")
	}
	p := shmtest.Start(t, forker, s.Name(), work, strconv.Itoa(victims))
	start := time.Now()
	for {
		line := p.Line()
		var b bill
		if _, err := fmt.Fscan(strings.NewReader(line), &b.Kills, &b.Working, &b.Inside, &b.Began, &b.Done); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		check(b)
		if took := time.Since(start); took >= *shmtest.StormLength || t.Failed() {
			if b.Working == 0 {
				t.Error("no victim ever got to work")
			}
			t.Logf("%d kills in %v, %.0f a second: %d before the first operation, %d between two, %d inside one; %d operations",
				b.Kills, took.Round(time.Second), float64(b.Kills)/took.Seconds(), b.Kills-b.Working, b.Working-b.Inside, b.Inside, b.Done)
			return
		}
		p.Say("on")
	}
}

// countInCells counts in a tally.
func countInCells(s *shm.Segment, _ int) (func(int64), error) {
	var c tally
	err := shm.Bind(s, &c)
	return func(n int64) {
		c.Count.Add(1)
		c.Sum.Add(0.5)
		c.Took.Observe(float64(n%3) + 1)
		c.Alive.Set(n)
	}, err
}

// addUnderLock adds to a number under its lock.
func addUnderLock(s *shm.Segment, _ int) (func(int64), error) {
	v, err := shm.NewValue[int64](s, "value", 0)
	return func(int64) { v.Add(1) }, err
}

// appendToRing appends values whose parts check each other.
func appendToRing(s *shm.Segment, place int) (func(int64), error) {
	v, err := shm.NewRing[ringEvent](s, "ring", 0)
	return func(n int64) { v.Append(ringEvent{int64(place), n, int64(place), n}) }, err
}

// Counters, sums, histograms and gauges stay exact over many kills: whatever was counted
// lies between the operations that returned and those that began. All cells of one counter
// but one belong to this process, so that some victims find none and share one.
func TestManyKillsOfCellsStorm(t *testing.T) {
	s := shmtest.Opened(shm.Open(shmtest.Name(t), agent.Modest))(t)
	var c tally
	if err := shm.Bind(s, &c); err != nil {
		t.Fatal(err)
	}
	c.Count.Add(0)
	header, cell := agent.Cells(t, s, "count")
	for i := int64(2); i < format.Cells; i++ {
		cell(i).Owner.Store(cell(1).Owner.Load())
	}
	header.High.Store(format.Cells - 1)
	last, shared, kills := int64(0), uint64(0), int64(0)
	storm(t, s, "cells", 3, func(b bill) {
		count, sum, took := c.Count.Load(), 2*c.Sum.Load(), c.Took.Load()
		observed, total := int64(0), 0.0
		for i, n := range took.Counts {
			observed += int64(n)
			total += float64(i+1) * float64(n)
		}
		switch {
		case count < max(b.Done, last) || count > b.Began:
			t.Errorf("%+v: counted %d, before that %d", b, count, last)
		case sum < float64(b.Done) || sum > float64(b.Began) || sum != float64(int64(sum)):
			t.Errorf("%+v: the sum is %v", b, sum)
		case observed < b.Done || observed > b.Began:
			t.Errorf("%+v: observed %d", b, observed)
		case took.Sum < total || took.Sum > total+3*float64(b.Began-b.Done):
			t.Errorf("%+v: the sum of what was observed is %v, of the buckets %v", b, took.Sum, total)
		}
		last, shared, kills = count, cell(0).Number.Load(), b.Kills
		shmtest.Eventually(t, "the gauges of the dead vanish", func() bool { _, living := c.Alive.Min(); return !living })
	})
	if enough := int64(200); kills < enough {
		t.Logf("after %d kills it is chance whether some victim found no cell", kills)
	} else if shared == 0 || cell(format.Cells).Number.Load() == 0 {
		t.Errorf("%d was counted where there is no cell, and %d in the last one", shared, cell(format.Cells).Number.Load())
	}
}

// A number under a lock has what was added, over many kills of those that hold the lock.
func TestManyKillsOfLockStorm(t *testing.T) {
	s := shmtest.Opened(shm.Open(shmtest.Name(t), agent.Modest))(t)
	v := shmtest.Must(shm.NewValue[int64](s, "value", 0))(t)
	storm(t, s, "lock", 3, func(b bill) {
		if n := v.Load(); n < b.Done || n > b.Began {
			t.Errorf("%+v: the number is %d", b, n)
		}
		shmtest.Within(t, "the lock after the kills", func() { v.Add(0) })
	})
}

// A ring has each value once, whole and in order, over many kills of those that append.
func TestManyKillsOfRingStorm(t *testing.T) {
	s := shmtest.Opened(shm.Open(shmtest.Name(t), agent.Modest))(t)
	v := shmtest.Must(shm.NewRing[ringEvent](s, "ring", 1000))(t)
	r := v.Reader()
	seq := uint64(0) // of the newest value that was read
	var newest [3]int64
	storm(t, s, "ring", len(newest), func(b bill) {
		_, count, _ := v.Last()
		if int64(count) < b.Done || int64(count) > b.Began {
			t.Errorf("%+v: %d values were appended", b, count)
		}
		for seq < count {
			missed := r.Missed()
			e, got, err := r.Next(t.Context())
			switch {
			case err != nil:
				t.Fatal(err)
			case got != seq+1+r.Missed()-missed:
				t.Fatalf("value %d, after %d and %d missed", got, seq, r.Missed()-missed)
			case e.Who != e.Who2 || e.N != e.N2 || e.Who < 0 || e.Who >= int64(len(newest)) || e.N <= newest[e.Who]:
				t.Fatalf("value %d is %+v, after %v", got, e, newest)
			}
			seq, newest[e.Who] = got, e.N
		}
	})
}
