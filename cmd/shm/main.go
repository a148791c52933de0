// Shm shows, changes, watches and cleans typed values in shared memory, and measures
// them.
//
//	shm [COMMAND] [flags] [arguments]
//
// Without a command it lists the segments. "shm -h" lists the commands, and
// "shm COMMAND -h" says what a command does and lists its flags. The exit status is that
// of the table in status.go: 0, or 2 for invalid flags or arguments, and so on.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"example.org/shm/cmd/shm/internal/bench"
	"example.org/shm/cmd/shm/internal/form"
	"github.com/urfave/cli/v3"
)

// commands has a function for each command. Each command has a file of its own.
var commands = []func() *cli.Command{
	lsCommand, getCommand, setCommand, addCommand, waitCommand,
	locksCommand, psCommand, watchCommand, recordCommand, replayCommand,
	checkCommand, diffCommand, dumpCommand, loadCommand, rmCommand, genCommand,
	serveCommand, doctorCommand, benchCommand, mirrorCommand, manCommand,
}

func main() {
	if status, worked := bench.Worker(); worked {
		os.Exit(status)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // so that a second Ctrl-C ends a process that hangs
	command, out := root(), &keeper{to: os.Stdout}
	command.Writer = out
	err := command.Run(ctx, os.Args)
	if err == nil {
		err = out.err
	}
	os.Exit(exit(ctx, err, wantsJSON(os.Args[1:])))
}

// keeper writes, and keeps the first error, which what prints the help does not look at.
type keeper struct {
	to  io.Writer
	err error
}

func (k *keeper) Write(b []byte) (int, error) {
	n, err := k.to.Write(b)
	if k.err == nil {
		k.err = err
	}
	return n, err
}

// root returns the command that has all other commands.
func root() *cli.Command {
	root := segmentsCommand()
	root.HideHelpCommand = true
	root.OnUsageError = badUsage
	root.ExitErrHandler = func(context.Context, *cli.Command, error) {} // main handles errors
	root.EnableShellCompletion = true
	root.ConfigureShellCompletionCommand = configureCompletion
	root.Before = func(ctx context.Context, c *cli.Command) (context.Context, error) {
		if c.IsSet("o") && c.Args().Present() {
			return ctx, usageError{fmt.Errorf("-o before %q is for the list of segments: give it after the command, if shm COMMAND -h lists it", c.Args().First())}
		}
		return ctx, nil
	}
	for _, command := range commands {
		c := command()
		switch c.Name {
		case "ls", "get", "set", "add", "wait", "watch", "record":
			completes(c, 0, true)
		case "gen":
			completes(c, 1, false)
		case "locks", "ps", "check", "diff", "dump", "load", "rm", "serve":
			completes(c, 0, false)
		}
		c.OnUsageError = badUsage
		c.HideHelpCommand = true
		root.Commands = append(root.Commands, c)
	}
	return root
}

func badUsage(_ context.Context, c *cli.Command, err error, _ bool) error {
	return usageError{fmt.Errorf("%w; %s -h lists the flags", err, c.FullName())}
}

// formFlag returns the flag that says in which form a command prints. It is that of the one
// command: those inside it have one of their own, or print in one form alone.
func formFlag(standard string) cli.Flag {
	return &cli.StringFlag{
		Name: "o", Value: standard, Local: true, Usage: "print as `FORM`: " + strings.Join(form.Forms, ", "),
		Validator: func(s string) error {
			for _, f := range form.Forms {
				if s == f {
					return nil
				}
			}
			return fmt.Errorf("there is no form %q; the forms are %s", s, strings.Join(form.Forms, ", "))
		},
	}
}

// printerFor returns what prints in the form that the flag -o asks for.
func printerFor(c *cli.Command) *form.Printer {
	return &form.Printer{W: os.Stdout, Err: os.Stderr, Form: c.String("o"), Colour: form.Coloured(os.Stdout), ASCII: form.ASCIIOnly(os.Stdout)}
}

// arguments returns the arguments of a command, if there are at least low and at most
// high of them; -1 means any number.
func arguments(c *cli.Command, low, high int) ([]string, error) {
	args := c.Args().Slice()
	switch {
	case len(args) < low:
		return nil, usageError{fmt.Errorf("too few arguments: %s %s; %s -h explains them", c.FullName(), c.ArgsUsage, c.FullName())}
	case high >= 0 && len(args) > high:
		return nil, usageError{fmt.Errorf("unexpected argument %q", args[high])}
	}
	return args, nil
}

func init() {
	// The help shows flags with one dash, as Go programs do. The parser accepts two
	// dashes as well.
	two := cli.FlagStringer
	cli.FlagStringer = func(f cli.Flag) string { return strings.ReplaceAll(two(f), "--", "-") }
}
