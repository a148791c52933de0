//go:build linux

package main

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// leftovers is what outlives this process unless it is removed: names of segments,
// and programs that were compiled.
var leftovers struct {
	sync.Mutex
	remove []func()
}

// atExit calls f when this program ends, also if a signal ends it.
func atExit(f func()) {
	leftovers.Lock()
	defer leftovers.Unlock()
	leftovers.remove = append(leftovers.remove, f)
}

func removeLeftovers() {
	leftovers.Lock()
	defer leftovers.Unlock()
	for _, f := range leftovers.remove {
		f()
	}
	leftovers.remove = nil
}

// removeWhenInterrupted ends this program for a signal.
func removeWhenInterrupted() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		removeLeftovers()
		os.Exit(1)
	}()
}
