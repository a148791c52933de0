//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
)

// The C header and the Python package have benchmarks of their own, which measure
// both sides in one process.

var cHeader = sync.OnceValues(func() (program string, err error) {
	return compile("test", "c/test.c", "-std=c11")
})

var languages = []comparison{
	{
		name: "C: shm_lock and shm_unlock", rival: "pthread mutex, robust", target: 1, long: true, pairs: 11,
		both: func(*bed) round {
			program := must(cHeader())
			return func() (ours, rival float64, err error) {
				out, err := exec.Command(program, "bench").Output()
				if err == nil {
					_, err = fmt.Sscanf(string(out), "shm %f ns, pthread robust %f ns", &ours, &rival)
				}
				return ours, rival, err
			}
		},
	},
	python("with v.get_lock(): v.value += 1", "multiprocessing.Value", 5),
	python("locked get", "multiprocessing.Value", 0),
	python("raw += 1", "ctypes", 0),
}

// python compares one row of the Python package's benchmark.
func python(row, rival string, target float64) comparison {
	return comparison{
		name: "Python: " + row, rival: rival, target: target, long: true, pairs: 5,
		both: func(*bed) round {
			if _, err := os.Stat("python/shm/bench.py"); err != nil {
				check(fmt.Errorf("%w: run it in the root of the repository: %w", errMissing, err))
			}
			program, err := exec.LookPath("python3")
			if err != nil {
				check(fmt.Errorf("%w: %w", errMissing, err))
			}
			figures := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(row) + ` +([\d.]+) +([\d.]+) +[\d.]+$`)
			return func() (ours, rival float64, err error) {
				cmd := exec.Command(program, "-m", "shm.bench")
				cmd.Dir = "python"
				out, err := cmd.Output()
				if err != nil {
					return 0, 0, err
				}
				found := figures.FindSubmatch(out)
				if found == nil {
					return 0, 0, fmt.Errorf("no row %q in\n%s", row, out)
				}
				if ours, err = strconv.ParseFloat(string(found[1]), 64); err == nil {
					rival, err = strconv.ParseFloat(string(found[2]), 64)
				}
				return ours, rival, err
			}
		},
	}
}
