package main

import (
	"context"
	"fmt"

	"example.org/shm"
	"example.org/shm/cmd/shm-mirror/internal/broker"
	"example.org/shm/cmd/shm-mirror/internal/replica"
	"example.org/shm/cmd/shm-mirror/internal/wire"
	"github.com/urfave/cli/v3"
)

func followCommand() *cli.Command {
	return &cli.Command{
		Name:      "follow",
		Usage:     "keep replicas of segments of other hosts",
		ArgsUsage: "HOST/SEG…",
		Description: `Follow keeps a replica of each segment: a segment of this host, named SEG@HOST, with the same
values. Programs attach to it with Options.ReadOnly and use the same handles. Each value is whole
and only ever goes forward; values of different names may be of different moments.

The values mirror/state and mirror/stale since say whether the newest values arrive. Programs can
await them. "shm mirror status" shows them.

Examples:
   shm mirror follow hostA/plant
   shm mirror follow -as oven hostA/plant
   shm watch plant@hostA`,
		Flags: append(natsFlags(), &cli.StringFlag{Name: "as", Usage: "`NAME` of the replica, if there is one argument"}),
		Action: func(ctx context.Context, c *cli.Command) error {
			args, as := c.Args().Slice(), c.String("as")
			if len(args) == 0 {
				return usageError{fmt.Errorf("name a segment as HOST/SEG; shm mirror follow -h explains the arguments")}
			}
			if as != "" && len(args) > 1 {
				return usageError{fmt.Errorf("-as %s is for one segment, and there are %d", as, len(args))}
			}
			origins := map[string]wire.Origin{}
			for _, arg := range args {
				o, err := wire.ParseOrigin(arg)
				if err != nil {
					return usageError{err}
				}
				if _, twice := origins[arg]; twice {
					return usageError{fmt.Errorf("%s is named twice", arg)}
				}
				origins[arg] = o
			}
			conn, err := broker.Connect(optionsOf(c))
			if err != nil {
				return err
			}
			defer conn.Close()
			return conn.Use(ctx, func(ctx context.Context) error {
				return all(ctx, args, func(ctx context.Context, arg string) error {
					name := as
					if name == "" {
						name = origins[arg].Replica()
					}
					logger("%s is replicated in %s", arg, shm.Path(name))
					return replica.Run(ctx, conn, replica.Options{Origin: origins[arg], Name: name, Log: logger})
				})
			})
		},
	}
}
