package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"example.org/shm/cmd/shm-mirror/internal/broker"
	"example.org/shm/cmd/shm-mirror/internal/owner"
	"example.org/shm/cmd/shm-mirror/internal/wire"
	"example.org/shm/internal/glob"
	"github.com/urfave/cli/v3"
)

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:      "serve",
		Usage:     "publish the values of segments of this host",
		ArgsUsage: "SEG…",
		Description: `Serve attaches to each segment read-only and publishes its values: Struct, String, Table, Value,
Atomic, AtomicArray, Counter, Gauge, Histogram and Ring. It looks at them once an interval, and
sends what has changed. Of several changes within an interval it sends the newest; writers never
wait for it. What may be torn while it is copied (RawValue, RawArray, RawStruct, CharArray, Array)
it publishes only if -raw names it. Locks stay where they are.

With -embed there is no NATS server to run: this process is one, with its data in -store. It
listens on loopback, or with credentials from -embed-config on any address.

Examples:
   shm mirror serve -embed 127.0.0.1:4222 plant
   shm mirror serve -nats nats://nats.example:4222 -creds ~/plant.creds -allow 'oven*' plant`,
		Flags: append(natsFlags(),
			&cli.StringFlag{Name: "embed", Usage: "be the NATS server, on `ADDR`; -nats is not used then"},
			&cli.StringFlag{Name: "embed-config", Usage: "`FILE` in the format of the NATS server: credentials, TLS, a cluster"},
			&cli.StringFlag{Name: "store", Usage: "`DIR` of the embedded server's data (default: shm-mirror below XDG_STATE_HOME or ~/.local/state)"},
			&cli.IntFlag{Name: "replicas", Value: 1, Usage: "how many servers of a cluster keep the bucket, if it is made now: 1, 3 or 5"},
			&cli.BoolFlag{Name: "memory", Usage: "keep the bucket in the server's memory, if it is made now"},
			&cli.StringFlag{Name: "host", Usage: "`NAME` of this host in keys (default: the host's name)"},
			&cli.StringSliceFlag{Name: "allow", Value: []string{"*"}, Usage: "`GLOB` of names to publish; * matches / too"},
			&cli.StringSliceFlag{Name: "raw", Usage: "`GLOB` of names whose values may be torn, to publish too"},
			&cli.StringSliceFlag{Name: "writable", Usage: "`GLOB` of names that \"shm mirror set\" may set from afar"},
			&cli.DurationFlag{Name: "interval", Value: 100 * time.Millisecond, Usage: "look at the values once in `TIME`"},
		),
		Action: serve,
	}
}

func serve(ctx context.Context, c *cli.Command) error {
	segments := c.Args().Slice()
	interval := c.Duration("interval")
	switch n := c.Int("replicas"); {
	case len(segments) == 0:
		return usageError{fmt.Errorf("name a segment; shm mirror serve -h explains the arguments")}
	case interval < time.Millisecond || interval > time.Minute:
		return usageError{fmt.Errorf("-interval %v is not from 1ms to 1m", interval)}
	case n != 1 && n != 3 && n != 5:
		return usageError{fmt.Errorf("-replicas %d is none of 1, 3 and 5", n)}
	case !c.IsSet("embed") && (c.IsSet("store") || c.IsSet("embed-config")):
		return usageError{fmt.Errorf("-store and -embed-config are for -embed")}
	}
	for _, flag := range []string{"allow", "raw", "writable"} {
		if err := glob.Check(c.StringSlice(flag)...); err != nil {
			return usageError{fmt.Errorf("-%s: %w", flag, err)}
		}
	}
	host := c.String("host")
	if host == "" {
		var err error
		if host, err = os.Hostname(); err != nil {
			return fmt.Errorf("%w; give -host", err)
		}
	}
	origins := map[wire.Origin]string{}
	for _, segment := range segments {
		o := originOf(segment, host)
		if _, err := wire.ParseOrigin(o.String()); err != nil {
			return usageError{fmt.Errorf("host %q and segment %q: %w", host, segment, err)}
		}
		if other, twice := origins[o]; twice {
			return usageError{fmt.Errorf("%s and %s would both be published as %s", other, segment, o)}
		}
		origins[o] = segment
	}
	o := optionsOf(c)
	o.Replicas, o.Memory = c.Int("replicas"), c.Bool("memory")
	if addr := c.String("embed"); addr != "" {
		dir := c.String("store")
		if dir == "" {
			var err error
			if dir, err = broker.Store(); err != nil {
				return err
			}
		}
		server, err := broker.Embed(addr, dir, c.String("embed-config"))
		if err != nil {
			return err
		}
		defer server.Close()
		o.URL, err = server.URL(c.String("nats"))
		if err != nil {
			return err
		}
		logger("NATS server at %s, data in %s", server.Addr(), dir)
	}
	conn, err := broker.Connect(o)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Use(ctx, func(ctx context.Context) error {
		return all(ctx, segments, func(ctx context.Context, segment string) error {
			origin := originOf(segment, host)
			logger("publishing %s as %s", segment, origin)
			return owner.Run(ctx, conn, owner.Options{
				Origin: origin, Path: segment, Allow: c.StringSlice("allow"), Raw: c.StringSlice("raw"), Writable: c.StringSlice("writable"),
				Interval: interval, Log: logger,
			})
		})
	})
}

// originOf returns as what a segment is published: a path counts by its last part.
func originOf(segment, host string) wire.Origin {
	return wire.Origin{Segment: filepath.Base(segment), Host: host}
}

// all runs f for each argument at the same time. If one fails, it ends the others, and
// returns the first error.
func all(ctx context.Context, args []string, f func(ctx context.Context, arg string) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ends := make(chan error)
	for _, arg := range args {
		go func() { ends <- f(ctx, arg) }()
	}
	var first error
	for range args {
		if err := <-ends; err != nil && first == nil {
			first = err
			cancel(err)
		}
	}
	return first
}
