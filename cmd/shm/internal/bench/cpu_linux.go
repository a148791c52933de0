package bench

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// allowed returns the processors that this process may use. Processors that share a
// core with an earlier one come last: two processes on one core look far faster than
// they are.
func allowed() []int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	var cpus []int
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	rank := map[int]int{} // position of a processor among the processors of its core
	seen := map[string]int{}
	for _, cpu := range cpus {
		core := siblings(cpu)
		rank[cpu] = seen[core]
		seen[core]++
	}
	slices.SortStableFunc(cpus, func(a, b int) int { return cmp.Compare(rank[a], rank[b]) })
	return cpus
}

// siblings returns a name of the core that a processor belongs to.
func siblings(cpu int) string {
	b, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu))
	if err != nil {
		return strconv.Itoa(cpu) // unknown, so it counts as a core of its own
	}
	return strings.TrimSpace(string(b))
}

// seatsFor returns a processor for each of n processes, or nil if there are too
// few.
func seatsFor(n int) []int {
	cpus := allowed()
	if n > len(cpus) {
		return nil
	}
	return cpus[:n]
}

// onCPUs calls f on the given processors. A process that f starts runs on them from
// its first instruction on, with all its threads. If cpus is nil, it may run on all
// processors.
func onCPUs(cpus []int, f func() error) error {
	if cpus == nil {
		return f()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, wanted unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("asking for the processors: %w", err)
	}
	for _, cpu := range cpus {
		wanted.Set(cpu)
	}
	if err := unix.SchedSetaffinity(0, &wanted); err != nil {
		return fmt.Errorf("pinning to processors %v: %w", cpus, err)
	}
	err := f()
	return errors.Join(err, unix.SchedSetaffinity(0, &before))
}
