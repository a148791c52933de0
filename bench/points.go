package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"example.org/shm"
)

// Each function here measures one point of a curve, and returns a figure for each of its
// series.

// processes returns the rate of n processes together, and the least share of the mean.
func (k *course) processes(n int) ([]float64, error) {
	s, dir, remove, err := k.segment()
	if err != nil {
		return nil, err
	}
	defer remove()
	var v contested
	if err := shm.Bind(s, &v); err != nil {
		return nil, err
	}
	var all []*worker
	defer func() {
		for _, w := range all {
			quiet(w)
		}
	}()
	for range n {
		w, err := k.start("contender", dir)
		if err != nil {
			return nil, err
		}
		all = append(all, w)
		if err := w.say("go"); err != nil {
			return nil, err
		}
	}
	begin := time.Now()
	v.Run.Store(1)
	time.Sleep(time.Duration(max(2, n/8)) * k.span) // the more processes, the fewer turns has each in a second
	v.Run.Store(2)
	took := time.Since(begin)
	var counts []int64
	total := int64(0)
	for _, w := range all {
		got, err := w.numbers()
		if err != nil {
			return nil, err
		}
		counts = append(counts, got[0])
		total += got[0]
	}
	if sum := v.Count.Load(); sum != total {
		return nil, fmt.Errorf("%d additions counted %d", total, sum)
	}
	return []float64{float64(total) / took.Seconds(), float64(slices.Min(counts)) * float64(n) / float64(total)}, nil
}

// awaiting returns the time from a change in this process until the first and the last of n
// goroutines of another process run that await it: the medians of some changes.
func (k *course) awaiting(n int) ([]float64, error) {
	s, dir, remove, err := k.segment()
	if err != nil {
		return nil, err
	}
	defer remove()
	v, err := shm.NewValue(s, "v0", int64(0))
	if err != nil {
		return nil, err
	}
	w, err := k.start("crowd", dir)
	if err != nil {
		return nil, err
	}
	defer quiet(w)
	var first, last []float64
	for range 7 {
		if err := w.say(fmt.Sprint("one ", n)); err != nil {
			return nil, err
		}
		if line, err := w.hear(time.Minute); err != nil || line != "waiting" {
			return nil, fmt.Errorf("it says %q: %w", line, err)
		}
		at := now()
		v.Add(1)
		woke, err := w.numbers()
		if err != nil {
			return nil, err
		}
		first, last = append(first, float64(woke[0]-at)), append(last, float64(woke[1]-at))
	}
	return []float64{median(first), median(last)}, nil
}

// idle returns the CPU time a second of a process with n goroutines that await a value each.
func (k *course) idle(n int) ([]float64, error) {
	_, dir, remove, err := k.segment()
	if err != nil {
		return nil, err
	}
	defer remove()
	w, err := k.start("crowd", dir)
	if err != nil {
		return nil, err
	}
	defer quiet(w)
	if err := w.say(fmt.Sprint("each ", n)); err != nil {
		return nil, err
	}
	if line, err := w.hear(time.Minute); err != nil || line != "waiting" {
		return nil, fmt.Errorf("it says %q: %w", line, err)
	}
	time.Sleep(k.span) // the first looks come soon after each other
	before, err := w.ask("cpu")
	if err != nil {
		return nil, err
	}
	time.Sleep(2 * k.span)
	after, err := w.ask("cpu")
	if err != nil {
		return nil, err
	}
	return []float64{float64(after[0]-before[0]) / float64(after[1]-before[1]) * 1000}, nil
}

// values returns what a process needs to open a segment of n values, to find one of them,
// to find more, and to find the same again: the medians of some processes.
func (k *course) values(n int) ([]float64, error) {
	s, dir, remove, err := k.segment()
	if err != nil {
		return nil, err
	}
	defer remove()
	for i := range n {
		if _, err := shm.NewRawValue(s, fmt.Sprint("v", i), int64(0)); err != nil {
			return nil, err
		}
	}
	var figures [4][]float64
	for range 7 {
		w, err := k.start("finder", dir)
		if err != nil {
			return nil, err
		}
		got, err := w.ask(fmt.Sprint(n))
		quiet(w)
		if err != nil {
			return nil, err
		}
		for i := range figures {
			figures[i] = append(figures[i], float64(got[i]))
		}
	}
	return []float64{median(figures[0]), median(figures[1]), median(figures[2]), median(figures[3])}, nil
}

// structs returns the times of a Struct of n bytes, and of a plain copy: medians of short
// batches in turn.
func (k *course) structs(n int) ([]float64, error) {
	switch n {
	case 8:
		return sized[[1]int64](k)
	case 64:
		return sized[[8]int64](k)
	case 512:
		return sized[[64]int64](k)
	case 4 << 10:
		return sized[[512]int64](k)
	case 32 << 10:
		return sized[[4 << 10]int64](k)
	case 256 << 10:
		return sized[[32 << 10]int64](k)
	case 1 << 20:
		return sized[[128 << 10]int64](k)
	}
	return nil, fmt.Errorf("no struct has %d bytes", n)
}

func sized[A any](k *course) ([]float64, error) {
	type T struct{ A A }
	s, err := shm.Anonymous(nil)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	v, err := shm.NewStruct(s, "v", T{})
	if err != nil {
		return nil, err
	}
	from, to := new(T), new(T)
	all := []func(){func() { v.LoadTo(to) }, func() { v.StoreFrom(from) }, func() { *to = *from }}
	var took [3][]float64
	often := 1
	for begin := now(); now()-begin < 20_000 && often < 1<<20; often *= 2 { // a batch takes about 20 µs
		begin = now()
		for range often {
			all[0]()
		}
	}
	for end := time.Now().Add(k.span); time.Now().Before(end) || len(took[0]) == 0; {
		for i, f := range all {
			begin := now()
			for range often {
				f()
			}
			took[i] = append(took[i], float64(now()-begin)/float64(often))
		}
	}
	return []float64{median(took[0]), median(took[1]), median(took[2])}, nil
}

// attached returns what it costs to ask whether a process lives, and to list them, while n
// other processes have the segment attached. They are forked by a program in C.
func (k *course) attached(n int) ([]float64, error) {
	s, dir, remove, err := k.segment()
	if err != nil {
		return nil, err
	}
	defer remove()
	v, err := shm.NewValue(s, "count", int64(0))
	if err != nil {
		return nil, err
	}
	program, err := k.crowd()
	if err != nil {
		return nil, err
	}
	w, err := startWorker(exec.CommandContext(k.ctx, program, segmentIn(dir), fmt.Sprint(n)))
	if err != nil {
		return nil, err
	}
	defer quiet(w)
	if got, err := w.numbers(); err != nil || got[0] != int64(n) || v.Load() != int64(n) {
		return nil, fmt.Errorf("%d of %d processes attached: %s: %w", v.Load(), n, w.last, err)
	}
	var list, alive []float64
	var other shm.Process
	for end := time.Now().Add(k.span); time.Now().Before(end) || len(list) < 5; {
		begin := now()
		found := 0
		for p := range s.Processes() {
			found++
			if p.Pid != os.Getpid() {
				other = p
			}
		}
		list = append(list, float64(now()-begin))
		if found < n {
			return nil, fmt.Errorf("%d of %d processes are listed", found, n)
		}
	}
	for end := time.Now().Add(k.span); time.Now().Before(end) || len(alive) < 5; {
		begin := now()
		if !other.Alive() {
			return nil, errors.New("a process that lives counts as dead")
		}
		alive = append(alive, float64(now()-begin))
	}
	return []float64{median(alive), median(list)}, nil
}
