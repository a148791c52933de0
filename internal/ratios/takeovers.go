//go:build linux

package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"example.org/shm"
	"golang.org/x/sys/unix"
)

// A takeover is what follows kill -9 of a process that holds a lock.

// lockName names the locks that a holder takes beside its number's.
func lockName(i int) string { return fmt.Sprint("mutex", i) }

// holder locks the number "n", and some locks beside it, and keeps them until it is
// killed. It has some memory, which the kernel gives back before the lease.
func holder(args []string) error {
	s, err := shm.Open(args[0], &shm.Options{MustExist: true})
	if err != nil {
		return err
	}
	n, err := shm.NewValue[int64](s, "n", 0)
	if err != nil {
		return err
	}
	mebibytes, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	locks, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	ballast := make([]byte, mebibytes<<20)
	for i := 0; i < len(ballast); i += 4096 {
		ballast[i] = 1
	}
	for i := range locks {
		mu, err := shm.NewMutex(s, lockName(i))
		if err != nil {
			return err
		}
		mu.Lock()
	}
	n.Mutex().Lock()
	fmt.Println("locked")
	_, _ = os.Stdin.Read(make([]byte, 1)) // until it is killed, or whoever started it ends
	return fmt.Errorf("nobody killed the holder of %d bytes", len(ballast))
}

// latecomer takes the lock of a dead holder each time that it is called, and prints
// how many nanoseconds that took.
func latecomer(args []string) error {
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
	for calls := uint32(1); ; calls++ {
		fmt.Println("ready")
		for come.Load() != calls {
		}
		begin := time.Now()
		v.Mutex().Lock()
		took := time.Since(begin)
		v.Mutex().Unlock()
		fmt.Println(took.Nanoseconds())
	}
}

// deaths is how many holders are killed for one median, if they are small.
const deaths = 15

// median measures some times.
func median(deaths int, one func() time.Duration) side {
	return func() (x float64, err error) {
		err = catch(func() {
			var all []time.Duration
			for range deaths {
				all = append(all, one())
			}
			slices.Sort(all)
			x = float64(all[len(all)/2].Nanoseconds()) / 1e3
		})
		return x, err
	}
}

// hold starts a holder.
func (b *bed) hold(name string, mebibytes int) *worker {
	w := b.start("holder", name, strconv.Itoa(mebibytes), "0")
	check(w.expect("locked"))
	return w
}

// settled is how long a holder and a sleeper are left alone before the kill: longer
// than a sleeper takes to ask the kernel for the holder's end.
const settled = 60 * time.Millisecond

// asleep returns how long one who has been asleep for the lock takes to have it.
func (b *bed) asleep(name string, mu *shm.Mutex, mebibytes int) time.Duration {
	w := b.hold(name, mebibytes)
	got := make(chan time.Time)
	go func() {
		mu.Lock()
		got <- time.Now()
	}()
	time.Sleep(settled)
	killed := time.Now()
	check(w.cmd.Process.Kill())
	took := (<-got).Sub(killed)
	mu.Unlock()
	w.stop()
	return took
}

// exit returns how long the kernel takes to report the end of a holder for which
// nobody waits.
func (b *bed) exit(name string, mebibytes int) time.Duration {
	w := b.hold(name, mebibytes)
	fd := must(unix.PidfdOpen(w.cmd.Process.Pid, 0))
	defer unix.Close(fd)
	time.Sleep(settled)
	killed := time.Now()
	check(w.cmd.Process.Kill())
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if err == unix.EINTR {
			continue
		}
		check(err)
		break
	}
	gone := time.Since(killed)
	w.stop()
	return gone
}

// number returns a segment with the number that holders lock.
func (b *bed) number() (name string, mu *shm.Mutex) {
	name = b.name()
	return name, must(shm.NewValue[int64](b.open(name), "n", 0)).Mutex()
}

// takeover compares a sleeper with the kernel alone.
func takeover(what string, mebibytes, deaths int) comparison {
	return comparison{
		name: "takeover, a sleeper" + what, ours: "kill -9 of a holder" + what + " until a sleeper has the lock", rival: "until the kernel reports its end",
		unit: "µs", long: true, pairs: 7,
		sides: func(b *bed) (ours, rival side) {
			name, mu := b.number()
			other, _ := b.number()
			return median(deaths, func() time.Duration { return b.asleep(name, mu, mebibytes) }),
				median(deaths, func() time.Duration { return b.exit(other, mebibytes) })
		},
	}
}

var takeovers = []comparison{
	takeover("", 0, deaths),
	takeover(" of 512 MiB", 512, 3),
	{
		name: "takeover, a sleeper, against robust", ours: "kill -9 of a holder until a sleeper has the lock", rival: "the same in C, robust",
		unit: "µs", long: true, pairs: 7,
		note: "A robust pthread mutex needs no file to be closed: its waiter is told before the process has given its memory back, and by a list that speaks for one thread.",
		sides: func(b *bed) (ours, rival side) {
			program := must(cRivals())
			name, mu := b.number()
			return median(deaths, func() time.Duration { return b.asleep(name, mu, 0) }), func() (float64, error) {
				r, err := runC(program, "robust", "kill", strconv.Itoa(deaths))
				return r.AsleepMedian / 1e3, err
			}
		},
	}, {
		name: "takeover, a latecomer, against robust", ours: "Lock of one who comes after the holder is dead", rival: "the same in C, robust",
		unit: "µs", long: true, pairs: 7,
		sides: func(b *bed) (ours, rival side) {
			program := must(cRivals())
			name, _ := b.number()
			come := must(shm.NewAtomic[uint32](b.open(name), "come", 0))
			late := b.start("latecomer", name)
			return median(deaths, func() time.Duration {
					check(late.expect("ready"))
					w := b.hold(name, 0)
					// Else the probe for the last death would stand for this one's.
					time.Sleep(10 * time.Millisecond)
					w.stop()
					come.Add(1)
					return time.Duration(must(strconv.Atoi(must(late.line()))))
				}), func() (float64, error) {
					r, err := runC(program, "robust", "kill", strconv.Itoa(deaths))
					return r.LateMedian / 1e3, err
				}
		},
	},
}
