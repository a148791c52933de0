package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm-mirror/internal/replica"
	"github.com/urfave/cli/v3"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "show the replicas of this host: lag, what was left out or refused, since when they are stale",
		ArgsUsage: "[REPLICA…]",
		Description: `Status reads the replicas themselves, and needs no connection. The lag is the bound that 99 of
100 changes kept since the replica was made, by the clocks of both hosts.

Examples:
   shm mirror status
   shm mirror status -o json plant@hostA
   shm mirror status -commits plant@hostA`,
		Flags: []cli.Flag{&cli.BoolFlag{Name: "commits", Usage: "show which commit each value is of, for -if of \"shm mirror set\""}, &cli.StringFlag{Name: "o", Value: "table", Usage: "print as `FORM`: table or json", Validator: func(s string) error {
			if s != "table" && s != "json" {
				return fmt.Errorf("there is no form %q; the forms are table and json", s)
			}
			return nil
		}}},
		Action: func(_ context.Context, c *cli.Command) error {
			names, given := c.Args().Slice(), c.NArg() > 0
			if !given {
				found, err := filepath.Glob(filepath.Join(filepath.Dir(shm.Path("x")), "*"))
				if err != nil {
					return err
				}
				names = found
			}
			reports := []replica.Report{}
			for _, name := range names {
				if f, err := os.Stat(shm.Path(name)); !given && (err != nil || !f.Mode().IsRegular()) {
					continue
				}
				r, err := replica.Look(name)
				if err != nil {
					if given {
						return err
					}
					continue // another program's segment, or none
				}
				if !given {
					r.Replica = filepath.Base(name)
				}
				if c.Bool("commits") {
					if r.Commits, err = replica.Commits(name); err != nil {
						return err
					}
				}
				reports = append(reports, r)
			}
			if c.String("o") == "json" {
				return json.NewEncoder(os.Stdout).Encode(map[string]any{"schema": 1, "replicas": reports})
			}
			return table(reports)
		},
	}
}

func table(reports []replica.Report) error {
	if len(reports) == 0 {
		fmt.Println("no replica on this host")
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "REPLICA\tORIGIN\tSTATE\tSTALE SINCE\tLAG P99\tVALUES\tAPPLIED\tCONFLATED\tTOO LARGE\tMISSED\tREFUSED")
	for _, r := range reports {
		stale := "-"
		if r.Stale != nil {
			stale = r.Stale.Format(time.DateTime)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\n", line(r.Replica), line(r.Origin), line(r.State), stale,
			"≤ "+time.Duration(r.Lag*float64(time.Second)).String(), r.Values, r.Applied, r.Conflated, r.TooLarge, r.Missed, r.Refused)
	}
	if err := w.Flush(); err != nil {
		return errors.New("standard output: " + err.Error())
	}
	for _, r := range reports {
		if r.Why != "" {
			fmt.Printf("%s refuses: %s\n", line(r.Replica), line(r.Why))
		}
		if len(r.Commits) == 0 {
			continue
		}
		fmt.Fprintf(w, "\nVALUE OF %s\tCOMMIT\n", line(r.Replica))
		for _, c := range r.Commits {
			name := line(c.Name)
			if c.Row != nil {
				name += fmt.Sprintf("[%d]", *c.Row)
			}
			commit := "-"
			if c.Commit != nil {
				commit = c.Commit.String()
			}
			fmt.Fprintf(w, "%s\t%s\n", name, commit)
		}
		if err := w.Flush(); err != nil {
			return errors.New("standard output: " + err.Error())
		}
	}
	return nil
}
