package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/segments"
	"example.org/shm/cmd/shm/internal/serve"
	"github.com/urfave/cli/v3"
)

// serveCommand returns the command that serves a page and metrics.
func serveCommand() *cli.Command {
	return &cli.Command{
		Name:      "serve",
		Usage:     "show values on a live page, and to Prometheus",
		ArgsUsage: "[SEG…]",
		Description: `Serve answers by HTTP, until Ctrl-C:

   /          a page with the values, their rates and a chart of each, locks and processes
   /metrics   all numbers, for Prometheus
   /healthz   JSON: which segments can be read; status 503 if one that was named cannot

Without SEG it serves all segments in ` + segments.Dir + `, as they come and go. It only reads: it attaches
without write permission, takes no lock and no lease, and nothing can be changed through it. The
page loads nothing from other hosts. While a page looks at a segment it is attached, so shm rm
does not remove it.

There is no password and no encryption. So it listens on this machine alone, unless -addr
says otherwise. It answers only requests for an address, localhost, the host of -addr or one
of -host, so that no page of another site can read it under a name of its own.

Examples:
   shm serve
   shm serve -addr 127.0.0.1:0 board
   shm serve -addr 10.0.0.7:9188 -host metrics.internal board`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "addr", Value: "127.0.0.1:9188", Usage: "listen on `HOST:PORT`; port 0 is any that is free"},
			&cli.StringSliceFlag{Name: "host", Usage: "also answer requests for this `NAME`, as a proxy or a name server gives it"},
			&cli.DurationFlag{Name: "i", Value: time.Second, Usage: "send a frame to each page every `DURATION`", Validator: between(100*time.Millisecond, time.Hour)},
			formFlag(form.Plain),
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			names, err := arguments(c, 0, -1)
			if err != nil {
				return err
			}
			host, _, err := net.SplitHostPort(c.String("addr"))
			if err != nil {
				return usageError{fmt.Errorf("-addr %s: %w; give HOST:PORT", form.Name(c.String("addr")), err)}
			}
			hosts := append(c.StringSlice("host"), host)
			s := serve.New(serve.Config{
				Names: names, Every: c.Duration("i"), Hosts: hosts, Locks: locksOf, Seen: seen,
				Failed: func(err error) (string, int) { status := statusOf(ctx, err); return kinds[status], status },
			})
			if err := s.Ready(); err != nil {
				return err
			}
			ln, err := net.Listen("tcp", c.String("addr"))
			if errors.Is(err, syscall.EADDRINUSE) {
				return fmt.Errorf("%w: another program, or another shm serve, listens there; choose another port with -addr", err)
			} else if err != nil {
				return err
			}
			if a, ok := ln.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
				fmt.Fprintf(os.Stderr, "shm: warning: whoever can reach %s can read all values: there is no password and no encryption\n", ln.Addr())
			}
			if err := printerFor(c).Row(serveRow(ln.Addr().String())); err != nil {
				return err
			}
			disturbLess()
			return s.Serve(ctx, ln)
		},
	}
}

// serveData says in JSON where the server is to be found.
type serveData struct {
	URL     string `json:"url"`
	Metrics string `json:"metrics"`
	Health  string `json:"health"`
}

func serveRow(addr string) form.Row {
	url := "http://" + addr + "/"
	return form.Row{Text: new(url), Data: serveData{url, url + "metrics", url + "healthz"}}
}
