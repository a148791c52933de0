// Daemon prints a greeting again and again, as the settings say. Several daemons
// can run at once. Each sleeps until the settings change, and applies the change
// at once.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.org/shm"
	"example.org/shm/examples/settings/settings"
)

func main() {
	log.SetFlags(0)
	name := flag.String("name", "settings", "name of the segment")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	shared, err := settings.Open(*name)
	if err != nil {
		log.Fatal(err)
	}
	now := shared.Load()
	log.Printf("daemon %d starts with %v", os.Getpid(), now)
	changes := make(chan settings.Settings)
	go follow(ctx, shared, now, changes)

	ticker := time.NewTicker(now.Interval)
	for {
		select {
		case <-ticker.C:
			fmt.Println(now.Text())
		case now = <-changes:
			ticker.Reset(now.Interval)
			log.Printf("daemon %d changes to %v", os.Getpid(), now)
		case <-ctx.Done():
			return
		}
	}
}

// follow sends the settings whenever they differ from the settings that it sent
// last. Of several changes in a row it may send only the last one.
func follow(ctx context.Context, shared shm.Struct[settings.Settings], sent settings.Settings, changes chan<- settings.Settings) {
	for {
		next, err := shared.Await(ctx, func(s settings.Settings) bool { return s != sent })
		if err != nil {
			return // ctx is done
		}
		select {
		case changes <- next:
			sent = next
		case <-ctx.Done():
			return
		}
	}
}
