package main

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"example.org/shm"
)

func init() {
	inGo["shm"] = openOurs
	inGo["shm raw"] = openRaw
}

// attached is how often a worker attaches at most in one measurement. A process maps a file
// once, for as long as anything refers to the mapping, so each time takes another file.
const attached = 128

// openOurs is this library: a Value, and a Struct.
func openOurs(dir string) (verbs, error) {
	path := filepath.Join(dir, "shm")
	s, err := shm.Open(path, nil)
	if err != nil {
		return verbs{}, err
	}
	var v struct {
		Count  shm.Value[uint64]  `shm:"count"`
		Record shm.Struct[Record] `shm:"record"`
		Poked  shm.Value[uint64]  `shm:"poked"`
	}
	if err := shm.Bind(s, &v); err != nil {
		return verbs{}, err
	}
	next := -1
	for i := range attached { // the first worker makes them
		if s, err := shm.Open(fmt.Sprint(path, "-", i), &shm.Options{Exclusive: true}); err == nil {
			if _, err := shm.NewValue(s, "count", uint64(0)); err != nil {
				return verbs{}, err
			}
			if err := s.Close(); err != nil {
				return verbs{}, err
			}
		}
	}
	return verbs{
		add:   func() error { v.Count.Add(1); return nil },
		total: func() (uint64, error) { return v.Count.Load(), nil },
		write: func(r *Record) error { v.Record.StoreFrom(r); return nil },
		read:  func(r *Record) error { v.Record.LoadTo(r); return nil },
		fresh: func() { // unmaps what was closed, which the collector does later
			runtime.GC()
			time.Sleep(20 * time.Millisecond)
		},
		attach: func() error {
			next = (next + 1) % attached
			s, err := shm.Open(fmt.Sprint(path, "-", next), nil)
			if err == nil {
				_, err = shm.NewValue(s, "count", uint64(0))
			}
			if err != nil {
				return err
			}
			return s.Close()
		},
		lock: func() error { v.Count.Mutex().Lock(); return nil },
		wait: func() (func() error, error) {
			was := v.Poked.Load()
			return func() error {
				_, err := v.Poked.Await(context.Background(), func(n uint64) bool { return n != was })
				return err
			}, nil
		},
		poke: func() error { v.Poked.Add(1); return nil },
		mismatch: func() string {
			if _, err := shm.NewValue(s, "count", 1.5); err != nil {
				return "refused: " + strings.ReplaceAll(err.Error(), path, "FILE")
			}
			return "accepted"
		},
	}, nil
}

// openRaw is this library without a lock, and a mutex of one process: what plain memory
// costs. It loses counts between processes, so only add alone means anything.
func openRaw(dir string) (verbs, error) {
	s, err := shm.Open(filepath.Join(dir, "shm"), nil)
	if err != nil {
		return verbs{}, err
	}
	count, err := shm.NewRawValue(s, "count", uint64(0)) // a directory of its own, so not the Value of shm
	if err != nil {
		return verbs{}, fmt.Errorf("raw: %w", err)
	}
	var mu sync.Mutex
	return verbs{
		add: func() error {
			mu.Lock()
			count.Set(count.Get() + 1)
			mu.Unlock()
			return nil
		},
		total: func() (uint64, error) { return count.Get(), nil },
	}, nil
}
