package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Record is what is written and read as a whole: all words are equal.
type Record [8]uint64

func recordOf(n uint64) (r Record) {
	for i := range r {
		r[i] = n
	}
	return r
}

func (r *Record) whole() bool { return *r == recordOf(r[0]) }

// verbs is what a rival in Go does. A verb that is nil is not to be had.
type verbs struct {
	add      func() error
	total    func() (uint64, error)
	write    func(r *Record) error
	read     func(r *Record) error
	attach   func() error // by name, anew, and detach
	fresh    func()       // before attach is measured; may be nil
	lock     func() error
	wait     func() (sleep func() error, err error) // sleep returns after the next poke
	poke     func() error
	mismatch func() string
}

// inGo has how each rival in Go opens what is in a directory. A test binary of the league
// has them too.
var inGo = map[string]func(dir string) (verbs, error){}

// now returns CLOCK_MONOTONIC, which all processes share.
func now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err)
	}
	return t.Nano()
}

// work is a worker of a rival in Go: it answers the lines on standard input.
func work(name, dir string) error {
	open, ok := inGo[name]
	if !ok {
		return fmt.Errorf("no rival in Go is called %q", name)
	}
	v, err := open(dir)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for s := bufio.NewScanner(os.Stdin); s.Scan(); {
		op, arg, _ := strings.Cut(s.Text(), " ")
		n, _ := strconv.Atoi(arg) // "" is 0
		answer, err := v.do(op, n)
		if err != nil {
			answer = "error: " + strings.ReplaceAll(err.Error(), "\n", " ")
		}
		fmt.Println(answer)
	}
	return nil
}

func (v *verbs) do(op string, n int) (answer string, err error) {
	if op == "attach" && v.fresh != nil {
		v.fresh()
	}
	start := now()
	end := start + int64(n)*int64(time.Millisecond)
	switch {
	case op == "add" && v.add != nil:
		for range n {
			if err := v.add(); err != nil {
				return "", err
			}
		}
		end := now()
		return fmt.Sprint(end-start, end), nil
	case op == "total" && v.total != nil:
		n, err := v.total()
		return fmt.Sprint(n), err
	case op == "write" && v.write != nil:
		count := uint64(0)
		for count%16 != 0 || now() < end {
			count++
			r := recordOf(count)
			if err := v.write(&r); err != nil {
				return "", err
			}
		}
		return fmt.Sprint(count, now()-start), nil
	case op == "read" && v.read != nil:
		count, torn := 0, 0
		var r Record
		for count%16 != 0 || now() < end {
			if err := v.read(&r); err != nil {
				return "", err
			}
			if !r.whole() {
				torn++
			}
			count++
		}
		return fmt.Sprint(count, now()-start, torn), nil
	case op == "attach" && v.attach != nil:
		for range n {
			if err := v.attach(); err != nil {
				return "", err
			}
		}
		return fmt.Sprint(now() - start), nil
	case op == "lock" && v.lock != nil:
		return "locked", v.lock()
	case op == "wait" && v.wait != nil:
		sleep, err := v.wait()
		if err != nil {
			return "", err
		}
		fmt.Println("waiting")
		err = sleep()
		return fmt.Sprint(now()), err
	case op == "poke" && v.poke != nil:
		return fmt.Sprint(start), v.poke()
	case op == "mismatch" && v.mismatch != nil:
		return v.mismatch(), nil
	}
	return "none", nil
}
