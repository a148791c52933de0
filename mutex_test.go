package shm

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
)

// adder adds 1 to a Value as often as told, then prints "done".
var adder = helper("adder", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := NewValue[int64](s, "n", 0)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadString('\n')
	for range n {
		v.Add(1)
	}
	fmt.Println("done")
	return nil
})

func TestValueAddsUpBetweenProcesses(t *testing.T) {
	const procs, each = 4, 100_000
	name := testName(t)
	s := open(t, name, nil)
	v := must(NewValue[int64](s, "n", 0))(t)
	var all []*process
	for range procs {
		p := start(t, adder, name, strconv.Itoa(each))
		p.expect("ready")
		all = append(all, p)
	}
	for _, p := range all {
		p.say("go")
	}
	for _, p := range all {
		p.expect("done")
		p.wait()
	}
	if got := v.Load(); got != procs*each {
		t.Fatalf("%d additions counted %d", procs*each, got)
	}
}

func TestValueAddsUpBetweenGoroutines(t *testing.T) {
	const goroutines, each = 64, 20_000
	s := open(t, testName(t), nil)
	v := must(NewValue[int32](s, "n", 0))(t)
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range each {
				v.Add(1)
			}
		})
	}
	wg.Wait()
	if got := v.Load(); got != goroutines*each {
		t.Fatalf("%d additions counted %d", goroutines*each, got)
	}
}
