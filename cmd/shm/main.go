// Shm looks at typed values in shared memory, and measures them.
//
//	shm COMMAND [flags] [arguments]
//
// "shm -h" lists the commands, "shm COMMAND -h" what one takes. The exit status
// is 0, 1 after an error, 2 for bad flags or arguments, and 130 after Ctrl-C.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"example.org/shm/cmd/shm/internal/bench"
	"github.com/urfave/cli/v3"
)

// commands is what there is; each has a file of its own.
var commands = []func() *cli.Command{
	benchCommand,
}

// usageError is a mistake in flags or arguments.
type usageError struct{ error }

func main() {
	if status, worked := bench.Worker(); worked {
		os.Exit(status)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends even what hangs
	err := root().Run(ctx, os.Args)
	os.Exit(status(ctx, err))
}

// root is the command that has the others.
func root() *cli.Command {
	root := &cli.Command{
		Name:            "shm",
		Usage:           "typed values in shared memory",
		HideHelpCommand: true,
		OnUsageError:    badUsage,
		ExitErrHandler:  func(context.Context, *cli.Command, error) {}, // main does it
		Action: func(_ context.Context, c *cli.Command) error {
			if !c.Args().Present() {
				return usageError{errors.New("which command? shm -h lists them")}
			}
			return usageError{fmt.Errorf("no command %q; shm -h lists them", c.Args().First())}
		},
	}
	for _, command := range commands {
		c := command()
		c.OnUsageError = badUsage
		c.HideHelpCommand = true
		root.Commands = append(root.Commands, c)
	}
	return root
}

// status reports an error in one line, and returns the exit status.
func status(ctx context.Context, err error) int {
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return 130 // whoever pressed Ctrl-C knows
	}
	fmt.Fprintln(os.Stderr, "shm:", strings.ReplaceAll(err.Error(), "\n", "; "))
	if _, ok := errors.AsType[usageError](err); ok {
		return 2
	}
	return 1
}

func badUsage(_ context.Context, c *cli.Command, err error, _ bool) error {
	return usageError{fmt.Errorf("%w; %s -h lists the flags", err, c.FullName())}
}

func init() {
	// One dash, as Go programs have; the parser takes two as well.
	two := cli.FlagStringer
	cli.FlagStringer = func(f cli.Flag) string { return strings.ReplaceAll(two(f), "--", "-") }
}
