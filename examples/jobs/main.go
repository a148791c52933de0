//go:build unix

// Jobs is a job board: programs post jobs, and workers do them. Each job is done, also if
// workers are killed in the middle of one.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"example.org/shm"
)

func main() {
	log.SetFlags(0)
	name := flag.String("name", "jobs", "of the segment")
	pause := flag.Duration("pause", 0, "how much longer each job takes a worker")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: jobs [flags] work | post TEXT... | wait [N] | remove")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *name, *pause, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, name string, pause time.Duration, args []string) error {
	if len(args) == 0 {
		args = []string{""}
	}
	if args[0] == "remove" {
		return shm.Remove(name)
	}
	seg, err := shm.Open(name, nil)
	if err != nil {
		return err
	}
	defer seg.Close()
	var b board
	if err := shm.Bind(seg, &b); err != nil {
		return err
	}
	switch args[0] {
	case "work":
		return b.work(ctx, pause)
	case "post":
		return b.post(ctx, args[1:])
	case "wait":
		n := 0
		if len(args) > 1 {
			if n, err = strconv.Atoi(args[1]); err != nil {
				return err
			}
		}
		return b.wait(ctx, os.Stdout, n)
	}
	flag.Usage()
	return fmt.Errorf("unknown command %q", args[0])
}
