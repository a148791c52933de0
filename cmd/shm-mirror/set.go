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
if its flag -writable allows it. Set prints the commit that it made, as NUMBER@EPOCH. The values are
set one after another: if one is refused, those before it are set.

With -if the value is set only if it is of that commit. "shm mirror status -commits" shows commits:
read the commit first and the value then. A Table and what has no lock has no commit that could be
compared, except for an Atomic.

Examples:
   shm mirror set hostA/plant 'limit=80'
   shm mirror set -if 41@3b0f2a7c9d1e48560a7b1c2d3e4f5061 hostA/plant 'config={Debug: true}'`,
		Flags: append(natsFlags(),
			&cli.StringFlag{Name: "if", Usage: "set only if the value is of the commit `NUMBER@EPOCH`"},
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
			var only *wire.Commit
			if c.IsSet("if") {
				only = new(wire.Commit)
				if err := only.UnmarshalText([]byte(c.String("if"))); err != nil {
					return usageError{fmt.Errorf("-if: %w, as shm mirror status -commits prints it", err)}
				}
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
				within := c.Duration("timeout")
				limit, cancel := context.WithTimeout(ctx, within)
				commit, err := ask(limit, conn, o, wire.Request{Name: name, Text: text, If: only, Within: within})
				cancel()
				if err != nil {
					return err
				}
				said := "set"
				if commit != nil {
					said = "commit " + commit.String()
				}
				if _, err := fmt.Printf("%s is %s\n", line(name), said); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// ask sends a request and returns the commit that it made, or nil if nobody can know that.
func ask(ctx context.Context, conn *broker.Conn, o wire.Origin, q wire.Request) (commit *wire.Commit, err error) {
	b, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	m, err := conn.NC.RequestWithContext(ctx, o.Requests(), b)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, refusal{fmt.Errorf("nobody takes requests for %s: its agent does not run, or has no -writable", o), "absent"}
	}
	if err != nil {
		return nil, fmt.Errorf("asking the owner of %s: %w; whether the value is set is not known", o, err)
	}
	var reply wire.Reply
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		return nil, fmt.Errorf("the answer of the owner of %s: %w", o, err)
	}
	if reply.Error != "" {
		return nil, refusal{fmt.Errorf("%s refuses (%s): %s", o, reply.By, strings.TrimPrefix(reply.Error, "shm: ")), reply.Kind}
	}
	return reply.Commit, nil
}
