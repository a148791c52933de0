package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"example.org/shm/cmd/shm-mirror/internal/broker"
	"example.org/shm/cmd/shm-mirror/internal/wire"
	"github.com/nats-io/nats.go"
	"github.com/urfave/cli/v3"
)

func setCommand() *cli.Command {
	return &cli.Command{
		Name:      "set",
		Usage:     "ask the owner of a segment to set values",
		ArgsUsage: "HOST/SEG NAME=VALUE…",
		Description: `Set sends a request to the agent of the owner, which sets the value under the value's own lock,
if its flag -writable allows it. Set prints the number of the commit. The values are set one after
another: if one is refused, those before it are set.

Examples:
   shm mirror set hostA/plant 'limit=80'
   shm mirror set -if 41 hostA/plant 'config={Debug: true}'`,
		Flags: append(natsFlags(),
			&cli.Uint64Flag{Name: "if", Usage: "set only if the value is of the commit `NUMBER`"},
			&cli.DurationFlag{Name: "timeout", Value: 5 * time.Second, Usage: "give up after `TIME`"},
		),
		Action: func(ctx context.Context, c *cli.Command) error {
			args := c.Args().Slice()
			if len(args) < 2 {
				return usageError{errors.New("too few arguments; shm mirror set -h explains them")}
			}
			o, err := wire.ParseOrigin(args[0])
			if err != nil {
				return usageError{err}
			}
			if c.IsSet("if") && len(args) > 2 {
				return usageError{errors.New("-if is for one value")}
			}
			conn, err := broker.Connect(optionsOf(c))
			if err != nil {
				return err
			}
			defer conn.Close()
			for _, arg := range args[1:] {
				name, text, ok := strings.Cut(arg, "=")
				if !ok {
					return usageError{fmt.Errorf("%q is not NAME=VALUE", arg)}
				}
				q := wire.Request{Name: name, Text: text}
				if c.IsSet("if") {
					n := c.Uint64("if")
					q.If = &n
				}
				limit, cancel := context.WithTimeout(ctx, c.Duration("timeout"))
				commit, err := ask(limit, conn, o, q)
				cancel()
				if err != nil {
					return err
				}
				if _, err := fmt.Printf("%s is commit %d\n", line(name), commit); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// ask sends a request and returns the commit that it made.
func ask(ctx context.Context, conn *broker.Conn, o wire.Origin, q wire.Request) (commit uint64, err error) {
	b, err := json.Marshal(q)
	if err != nil {
		return 0, err
	}
	m, err := conn.NC.RequestWithContext(ctx, o.Requests(), b)
	if errors.Is(err, nats.ErrNoResponders) {
		return 0, refusal{fmt.Errorf("nobody takes requests for %s: its agent does not run, or has no -writable", o), "absent"}
	}
	if err != nil {
		return 0, fmt.Errorf("asking the owner of %s: %w; whether the value is set is not known", o, err)
	}
	var reply wire.Reply
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		return 0, fmt.Errorf("the answer of the owner of %s: %w", o, err)
	}
	if reply.Error != "" {
		return 0, refusal{fmt.Errorf("%s refuses (%s): %s", o, reply.By, strings.TrimPrefix(reply.Error, "shm: ")), reply.Kind}
	}
	return reply.Commit, nil
}
