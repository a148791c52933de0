// Shm measures typed values in shared memory.
//
//	shm COMMAND [flags] [arguments]
//
// "shm -h" lists the commands, and "shm COMMAND -h" lists the flags of a command.
// The exit status is 0, or 1 after an error, 2 for invalid flags or arguments, and
// 130 after Ctrl-C.
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

// commands has a function for each command. Each command has a file of its own.
var commands = []func() *cli.Command{
	benchCommand,
}

// usageError is an error in the flags or the arguments.
type usageError struct{ error }

func main() {
	if status, worked := bench.Worker(); worked {
		os.Exit(status)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // so that a second Ctrl-C ends a process that hangs
	err := root().Run(ctx, os.Args)
	os.Exit(status(ctx, err))
}

// root returns the command that has all other commands.
func root() *cli.Command {
	root := &cli.Command{
		Name:            "shm",
		Usage:           "typed values in shared memory",
		HideHelpCommand: true,
		OnUsageError:    badUsage,
		ExitErrHandler:  func(context.Context, *cli.Command, error) {}, // main handles errors
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

// status prints an error as one line and returns the exit status.
func status(ctx context.Context, err error) int {
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return 130 // without a message, as the user pressed Ctrl-C
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
	// The help shows flags with one dash, as Go programs do. The parser accepts two
	// dashes as well.
	two := cli.FlagStringer
	cli.FlagStringer = func(f cli.Flag) string { return strings.ReplaceAll(two(f), "--", "-") }
}
