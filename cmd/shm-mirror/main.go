// Shm-mirror keeps copies of shared-memory segments on other machines, through NATS.
//
//	shm mirror serve [flags] SEG…           at the owner: publishes the values
//	shm mirror follow [flags] HOST/SEG…     elsewhere: keeps a replica of each
//	shm mirror set [flags] HOST/SEG NAME=VALUE…
//	shm mirror status [REPLICA…]
//
// It is a program and a module of its own, so that nobody needs NATS to build the command
// shm, which runs it as "shm mirror". The exit status is that of the command shm: 0, 1
// failed, 2 usage, 3 absent, 4 layout, 5 locked, 6 damaged, 130 interrupted.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm-mirror/internal/broker"
	"example.org/shm/cmd/shm-mirror/internal/replica"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/urfave/cli/v3"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	err := root().Run(ctx, os.Args)
	status := statusOf(ctx, err)
	if err != nil && status != 130 {
		fmt.Fprintln(os.Stderr, "shm mirror:", line(strings.TrimPrefix(err.Error(), "shm: ")))
	}
	os.Exit(status)
}

// root returns the command that has all other commands.
func root() *cli.Command {
	commands := []*cli.Command{serveCommand(), followCommand(), setCommand(), statusCommand()}
	for _, c := range commands {
		c.OnUsageError, c.HideHelpCommand = badUsage, true
	}
	return &cli.Command{
		Name:  "shm-mirror",
		Usage: "keep copies of segments on other machines, through NATS",
		Description: `The programs of one host own a segment and write it. "serve" publishes its values there.
"follow" keeps a replica of it on another host: a segment of its own, named SEG@HOST, which
programs attach to read-only with the same handles. Locks are not mirrored.`,
		HideHelpCommand: true,
		OnUsageError:    badUsage,
		ExitErrHandler:  func(context.Context, *cli.Command, error) {}, // main handles errors
		Commands:        commands,
		Action: func(_ context.Context, c *cli.Command) error {
			if c.NArg() > 0 {
				return usageError{fmt.Errorf("there is no command %q", c.Args().First())}
			}
			return cli.ShowRootCommandHelp(c)
		},
	}
}

func badUsage(_ context.Context, c *cli.Command, err error, _ bool) error {
	return usageError{fmt.Errorf("%w; %s -h lists the flags", err, c.FullName())}
}

// usageError is an error in the flags or the arguments.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// refusal is why an owner's agent did not do what it was asked for, in the kinds of wire.Reply.
type refusal struct {
	error
	kind string
}

func statusOf(ctx context.Context, err error) int {
	if r, ok := errors.AsType[refusal](err); ok {
		switch r.kind {
		case "absent":
			return 3
		case "layout":
			return 4
		case "locked":
			return 5
		}
		return 1
	}
	var layout *shm.LayoutError
	_, usage := errors.AsType[usageError](err)
	switch {
	case err == nil:
		return 0
	case usage:
		return 2
	case ctx.Err() != nil:
		return 130
	case errors.Is(err, replica.ErrKept), errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return 5
	case errors.As(err, &layout), errors.Is(err, replica.ErrNoReplica), errors.Is(err, broker.ErrBucket), errors.Is(err, shm.ErrVersion):
		return 4
	case errors.Is(err, shm.ErrFormat):
		return 6
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, jetstream.ErrBucketNotFound), errors.Is(err, nats.ErrNoResponders):
		return 3
	}
	return 1
}

// line returns text as one line without control characters: parts of it may come from
// another machine.
func line(text string) string {
	text = strings.ReplaceAll(text, "\n", "; ")
	if strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) {
		text = strings.Trim(strconv.Quote(text), `"`)
	}
	return text
}

func logger(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format(time.TimeOnly), line(fmt.Sprintf(format, args...)))
}

// natsFlags is the flags that say how to reach NATS.
func natsFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "nats", Value: nats.DefaultURL, Sources: cli.EnvVars("NATS_URL"), Usage: "`URL` of the server, or several with commas between them"},
		&cli.StringFlag{Name: "creds", Usage: "`FILE` with credentials"},
		&cli.StringFlag{Name: "nkey", Usage: "`FILE` with the seed of an nkey"},
		&cli.StringFlag{Name: "tlsca", Usage: "`FILE` with the authorities that sign the server's certificate"},
		&cli.StringFlag{Name: "tlscert", Usage: "`FILE` with this client's certificate"},
		&cli.StringFlag{Name: "tlskey", Usage: "`FILE` with its key"},
		&cli.StringFlag{Name: "bucket", Value: "shm", Usage: "`NAME` of the bucket that has the values", Validator: broker.CheckBucket},
	}
}

func optionsOf(c *cli.Command) broker.Options {
	return broker.Options{
		URL: c.String("nats"), Credentials: c.String("creds"), Nkey: c.String("nkey"), CA: c.String("tlsca"),
		Cert: c.String("tlscert"), Key: c.String("tlskey"), Bucket: c.String("bucket"), Name: "shm mirror " + c.Name,
		Changed: tellConnection, Trouble: func(err error) { logger("NATS: %v", err) },
	}
}

// tellConnection logs that the connection is lost, or there again.
func tellConnection(there bool, err error) {
	switch {
	case there:
		logger("connected to NATS again")
	case err != nil:
		logger("the connection to NATS is lost: %v", err)
	}
}
