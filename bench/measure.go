package main

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
)

// column is one test of the table, measured in nanoseconds.
type column struct {
	key, title string
	// measure returns 0 if the rival cannot do it.
	measure func(t *team, e *entry) (ns float64, err error)
}

// columns are in the order of the table.
var columns = []column{
	{"alone", "locked increment, alone", (*team).alone},
	{"two", "locked increment, two processes", (*team).two},
	{"read", "read 64 bytes beside a writer", func(t *team, e *entry) (float64, error) { return t.beside(e, 2) }},
	{"publish", "write 64 bytes to three readers", func(t *team, e *entry) (float64, error) { return t.beside(e, 4) }},
	{"attach", "attach by name", (*team).attach},
	{"wake", "wake-up", (*team).wake},
}

// pace says how long the parts of a run are.
type pace struct {
	slice   time.Duration // of one measurement
	wakeUps int           // in one measurement
	kills   int

	patience time.Duration // with a process that waits for the lock of a dead one
}

// alone measures one process that increments.
func (t *team) alone(*entry) (float64, error) {
	w, err := t.need(1)
	if err != nil {
		return 0, err
	}
	return t.repeat(w[0], "add")
}

func (t *team) attach(*entry) (float64, error) {
	if t.r.single {
		return 0, nil
	}
	w, err := t.need(2)
	if err != nil {
		return 0, err
	}
	return t.repeat(w[1], "attach")
}

// repeat does an operation as often as fits in a slice, and returns the nanoseconds of one.
// It returns 0 if the rival cannot do it.
func (t *team) repeat(w *worker, op string) (float64, error) {
	once := func(n int64) (float64, error) {
		took, err := w.ask(fmt.Sprint(op, " ", n))
		if err != nil || len(took) == 0 {
			return 0, err
		}
		if op == "add" {
			t.added += n
		}
		return float64(took[0]), nil
	}
	n := t.often[op]
	for n == 0 {
		n = 1
		for {
			took, err := once(n)
			if err != nil || took == 0 {
				return 0, err
			}
			if took >= float64(t.slice)/8 {
				n = max(1, int64(float64(n)*float64(t.slice)/took))
				break
			}
			n *= 2
		}
	}
	if op == "attach" {
		n = min(n, attached)
	}
	t.often[op] = n
	took, err := once(n)
	return took / float64(n), err
}

// two measures two processes that increment at the same time: the time until both are
// done, for one increment.
func (t *team) two(*entry) (float64, error) {
	if t.r.single || t.often["add"] == 0 {
		return 0, nil
	}
	n := max(1, t.often["add"]/2)
	w, err := t.need(2)
	if err != nil {
		return 0, err
	}
	start := now()
	for _, w := range w[:2] {
		if err := w.say(fmt.Sprint("add ", n)); err != nil {
			return 0, err
		}
	}
	var end int64
	both := true
	for _, w := range w[:2] {
		took, err := w.numbers()
		if err != nil {
			return 0, err
		}
		if took == nil {
			both = false
			continue
		}
		t.added += n
		end = max(end, took[1])
	}
	if !both {
		return 0, nil
	}
	return float64(end-start) / float64(2*n), nil
}

// sum compares the counter with the number of all increments of the run.
func (t *team) sum(e *entry) error {
	w, err := t.need(1)
	if err != nil {
		return err
	}
	total, err := w[0].ask("total")
	if err != nil || total == nil {
		return err
	}
	e.Increments, e.Counter = t.added, total[0]
	return nil
}

// beside measures one writer and the readers among n workers, at the same time. With one
// reader it returns the time of a read, and otherwise that of a write.
func (t *team) beside(e *entry, n int) (float64, error) {
	if t.r.single {
		return 0, nil
	}
	w, err := t.need(n)
	if err != nil {
		return 0, err
	}
	ms := max(t.slice.Milliseconds(), 1)
	if err := w[0].say(fmt.Sprint("write ", ms)); err != nil {
		return 0, err
	}
	for _, w := range w[1:] {
		if err := w.say(fmt.Sprint("read ", ms)); err != nil {
			return 0, err
		}
	}
	wrote, err := w[0].numbers()
	if err != nil {
		return 0, err
	}
	var read []int64
	for _, w := range w[1:] {
		if read, err = w.numbers(); err != nil {
			return 0, err
		}
		if len(read) == 3 {
			e.Reads += read[0]
			e.Torn += read[2]
		}
	}
	switch {
	case len(wrote) < 2 || len(read) < 3 || wrote[0] == 0 || read[0] == 0:
		return 0, nil
	case n == 2:
		return float64(read[1]) / float64(read[0]), nil
	}
	return float64(wrote[1]) / float64(wrote[0]), nil
}

// wake measures from the call that changes a value in one process until another one runs
// that slept until then.
func (t *team) wake(*entry) (float64, error) {
	if t.r.single {
		return 0, nil
	}
	w, err := t.need(2)
	if err != nil {
		return 0, err
	}
	var all []float64
	for range t.wakeUps {
		if err := w[0].say("wait"); err != nil {
			return 0, err
		}
		line, err := w[0].hear(10 * time.Second)
		if err != nil {
			return 0, err
		}
		if line != "waiting" {
			return 0, nil
		}
		time.Sleep(10 * time.Millisecond) // so that it sleeps
		at, err := w[1].ask("poke")
		if err != nil {
			return 0, err
		}
		woke, err := w[0].numbers()
		if err != nil {
			return 0, err
		}
		if at == nil || woke == nil {
			return 0, nil
		}
		all = append(all, float64(woke[0]-at[0]))
	}
	return median(all), nil
}

// killed kills a process that holds the lock while another one waits for it, some times,
// and says what becomes of the other one. Where there is no lock, it kills the server.
func (t *team) killed(e *entry) error {
	if t.r.single {
		return nil
	}
	for range t.kills {
		w, err := t.need(2)
		if err != nil {
			return err
		}
		if err := w[0].say("lock"); err != nil {
			return err
		}
		line, err := w[0].hear(10 * time.Second)
		if err != nil {
			return fmt.Errorf("it does not take the lock: %w", err)
		}
		if line != "locked" {
			e.Kill, err = t.killServer(w[1])
			return err
		}
		if err := w[1].say("add 1"); err != nil {
			return err
		}
		time.Sleep(30 * time.Millisecond) // so that it sleeps
		at := now()
		if err := syscall.Kill(w[0].pid, syscall.SIGKILL); err != nil {
			return err
		}
		line, err = w[1].hear(t.patience)
		var took, end int64
		switch {
		case errors.Is(err, errSilent):
			e.Kill = fmt.Sprintf("stuck: gave up after %v", t.patience)
			return nil
		case err != nil:
			return err
		}
		if _, err := fmt.Sscan(line, &took, &end); err != nil {
			e.Kill = "fails: " + line
			return nil
		}
		t.added++
		e.kills = append(e.kills, float64(end-at))
		if !t.r.together {
			w[0].kill()
			t.all = t.all[1:] // need starts another one
		} else {
			break
		}
	}
	e.KillNS = stats{Median: median(e.kills), Min: least(e.kills)}
	e.Kill = "goes on"
	return t.sum(e)
}

// killServer kills the server of a rival that has no lock, and says what becomes of an
// increment.
func (t *team) killServer(w *worker) (string, error) {
	const none = "there is no lock to hold"
	if t.ready.server == nil {
		return none, nil
	}
	if took, err := w.ask("add 1"); err != nil || took == nil {
		return none, err // its counter cannot be asked for
	}
	endGroup(t.ready.server)
	if err := w.say("add 1"); err != nil {
		return "", err
	}
	line, err := w.hear(t.patience)
	switch {
	case errors.Is(err, errSilent):
		line = fmt.Sprintf("no answer within %v", t.patience)
	case err != nil:
		return "", err
	}
	return none + "; with the server killed: " + t.clean(line), nil
}

// clean takes the name of this run's directory out of a text.
func (t *team) clean(s string) string { return strings.ReplaceAll(s, t.dir, "DIR") }

// confused says what becomes of a counter that is taken for another type.
func (t *team) confused(e *entry) error {
	if t.r.single {
		return nil
	}
	w, err := t.need(2)
	if err != nil {
		return err
	}
	if err := w[1].say("mismatch"); err != nil {
		return err
	}
	line, err := w[1].hear(10 * time.Second)
	if line != "none" {
		e.Mismatch = t.clean(line)
	}
	return err
}
